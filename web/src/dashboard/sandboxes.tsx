import { useEffect, useMemo } from "preact/hooks";

import type { Instance, Sandbox } from "../client/index.ts";
import type { ChartData, Line } from "./charts/chart.ts";
import { ChartPane } from "./charts/chart-pane.tsx";
import { loadOf } from "./charts/load.ts";
import { connection, loadTasks, now, session, tasks } from "./store.ts";
import { TrustMark } from "./trust.tsx";
import { UseTab } from "./use-tab.tsx";
import { instanceId, sandboxId, useWatched } from "./watched.ts";
import { duration } from "./words.ts";

export function Sandboxes() {
  const sandboxes = useWatched("sandboxes", sandboxId);
  const instances = useWatched("instances", instanceId);
  return (
    <section class="page" aria-labelledby="sandboxes-title">
      <h1 id="sandboxes-title">Sandboxes and instances</h1>
      <p class="muted">
        Where tasks run, how busy it is there, and what keeps a task apart from everything else.
      </p>
      <LoadChart places={(sandboxes ?? []).reduce((sum, { max_sessions }) => sum + max_sessions, 0)} />
      <h2>Sandboxes</h2>
      <UseTab />
      {sandboxes?.length === 0 && (
        <div class="empty">
          <p>No sandbox is there, so tasks wait.</p>
          <p class="muted">
            One comes with <code>gateway serve</code>; another machine joins by{" "}
            <code>sandbox-bridge join</code>, this browser by a tab.
          </p>
        </div>
      )}
      <ul class="cards">
        {sandboxes?.map((sandbox) => (
          <li key={sandboxId(sandbox)} class="card" tabIndex={-1} data-step>
            <SandboxCard sandbox={sandbox} />
          </li>
        ))}
      </ul>
      <h2>Gateway instances</h2>
      {instances === null && <p class="muted">An admin is shown the instances here.</p>}
      <ul class="cards">
        {instances?.map((instance) => (
          <li key={instance.instance} class="card">
            <InstanceCard
              instance={instance}
              sandboxes={(sandboxes ?? []).filter((sandbox) => sandbox.instance === instance.instance)}
            />
          </li>
        ))}
      </ul>
    </section>
  );
}

const LINES: Line[] = [
  { word: "running", colour: "--accent", isFilled: true },
  { word: "waiting", colour: "--warn" },
  { word: "places now", colour: "--line-strong", isDashed: true },
];
const SPAN_S = 900;
const STEP_S = 5;

/** The last quarter of an hour; each task that is known says when it waited and when it ran. */
function LoadChart({ places }: { places: number }) {
  const isLive = connection.value.phase === "live";
  useEffect(() => {
    // Those that have run for long may be older than what the list begins with.
    if (isLive) void loadTasks({ status: "running" });
  }, [isLive]);
  const step = Math.floor(now.value / 1000 / STEP_S);
  const data = useMemo(() => {
    const { times, running, waiting } = loadOf(tasks.value, now.value, SPAN_S, STEP_S);
    return [times, running, waiting, times.map(() => places)] as ChartData;
  }, [tasks.value, step, places]);
  return (
    <section class="card" aria-labelledby="load-title">
      <h2 id="load-title">Tasks in the last 15 minutes</h2>
      <ChartPane label="Tasks in the last 15 minutes" lines={LINES} data={data} />
    </section>
  );
}

function SandboxCard({ sandbox }: { sandbox: Sandbox }) {
  const { active, max_sessions, isolation, capabilities, labels } = sandbox;
  return (
    <>
      <div class="card-head">
        <strong class="clip">{sandbox.sandbox_id}</strong>
        <span class={sandbox.connected ? "exit good" : "exit bad"}>
          {sandbox.connected ? "connected" : "away"}
        </span>
        <span class="exit">{sandbox.runtime}</span>
        {sandbox.trust === "client" && <TrustMark subject={sandbox.subject} />}
      </div>
      {sandbox.problem !== null && <p class="error-text">{sandbox.problem}</p>}
      <Load word="places taken" used={active} of={max_sessions} />
      <dl class="fact-list">
        {Object.entries(isolation).map(([key, value]) => (
          <div key={key}>
            <dt>{key.replaceAll("_", " ")}</dt>
            <dd>{told(value)}</dd>
          </div>
        ))}
      </dl>
      <p class="tags">
        {[...capabilities, ...Object.entries(labels).map(([key, value]) => `${key}=${value}`)].map((word) => (
          <span key={word} class="label">
            {word}
          </span>
        ))}
      </p>
    </>
  );
}

function InstanceCard({ instance, sandboxes }: { instance: Instance; sandboxes: Sandbox[] }) {
  const isHere = session.welcome?.instance === instance.instance;
  return (
    <>
      <div class="card-head">
        <strong class="clip">{instance.instance}</strong>
        <span class={instance.draining ? "exit bad" : "exit good"}>
          {instance.draining ? "draining" : "up"}
        </span>
        {instance.role === "worker" && <span class="exit">worker</span>}
        {isHere && <span class="exit">serves this page</span>}
      </div>
      <Load
        word="places of its sandboxes taken"
        used={sandboxes.reduce((sum, { active }) => sum + active, 0)}
        of={sandboxes.reduce((sum, { max_sessions }) => sum + max_sessions, 0)}
      />
      <dl class="fact-list">
        <div>
          <dt>up for</dt>
          <dd>{duration(now.value - Date.parse(instance.started_at))}</dd>
        </div>
        <div>
          <dt>running tasks</dt>
          <dd>{instance.running}</dd>
        </div>
        <div>
          <dt>connections</dt>
          <dd>{instance.connections}</dd>
        </div>
        <div>
          <dt>agents</dt>
          <dd>{instance.agents.join(", ")}</dd>
        </div>
      </dl>
    </>
  );
}

function Load({ word, used, of }: { word: string; used: number; of: number }) {
  return (
    <div class="load">
      <meter min={0} max={Math.max(1, of)} value={used} aria-label={word} />
      <span class="muted">
        {used} of {of} {word}
      </span>
    </div>
  );
}

function told(value: unknown): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}
