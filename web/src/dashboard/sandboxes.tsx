import { useEffect, useState } from "preact/hooks";

import { GatewayError, type Instance, type Sandbox } from "../client/index.ts";
import { connection, now, session } from "./store.ts";
import { explain } from "./submit.ts";
import { duration } from "./words.ts";

const INSTANCES_MS = 3_000;

export function Sandboxes() {
  const sandboxes = useSandboxes();
  const { instances, error } = useInstances();
  return (
    <section class="page" aria-labelledby="sandboxes-title">
      <h1 id="sandboxes-title">Sandboxes and instances</h1>
      <p class="muted">
        Where tasks run, how busy it is there, and what keeps a task apart from everything else.
      </p>
      <h2>Sandboxes</h2>
      {sandboxes?.length === 0 && (
        <div class="empty">
          <p>No sandbox is there, so tasks wait.</p>
          <p class="muted">
            One comes with <code>gateway serve</code>; another machine joins by{" "}
            <code>sandbox-bridge join</code>.
          </p>
        </div>
      )}
      <ul class="cards">
        {sandboxes?.map((sandbox) => (
          <li key={sandbox.sandbox_id} class="card" tabIndex={-1} data-step>
            <SandboxCard sandbox={sandbox} />
          </li>
        ))}
      </ul>
      <h2>Gateway instances</h2>
      {error !== null && (
        <p role="alert" class="failure">
          {error}
        </p>
      )}
      <ul class="cards">
        {instances.map((instance) => (
          <li key={instance.instance} class="card">
            <InstanceCard instance={instance} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function useSandboxes(): Sandbox[] | null {
  const [items, setItems] = useState<Sandbox[] | null>(null);
  useEffect(
    () =>
      session.watch("sandboxes", (update) => {
        if ("items" in update) setItems(update.items);
        else setItems((known) => merged(known ?? [], update.item));
      }),
    [],
  );
  return items;
}

function merged(known: Sandbox[], item: Sandbox & { removed?: boolean }): Sandbox[] {
  const others = known.filter(({ sandbox_id }) => sandbox_id !== item.sandbox_id);
  if (item.removed) return others;
  return [...others, item].sort((a, b) => a.sandbox_id.localeCompare(b.sandbox_id));
}

function useInstances(): { instances: Instance[]; error: string | null } {
  const [instances, setInstances] = useState<Instance[]>([]);
  const [error, setError] = useState<string | null>(null);
  const isLive = connection.value.phase === "live";
  useEffect(() => {
    if (!isLive) return;
    const read = () =>
      void session.instances().then(
        (found) => {
          setInstances(found);
          setError(null);
        },
        (failure) => setError(told403(failure)),
      );
    read();
    const timer = setInterval(read, INSTANCES_MS);
    return () => clearInterval(timer);
  }, [isLive]);
  return { instances, error };
}

function told403(failure: unknown): string {
  const isForbidden = failure instanceof GatewayError && failure.code === "forbidden";
  return isForbidden ? "Only an admin is shown the instances." : explain(failure);
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
        <span class="exit">trust: {sandbox.trust}</span>
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

function InstanceCard({ instance }: { instance: Instance }) {
  const isHere = session.welcome?.instance === instance.instance;
  return (
    <>
      <div class="card-head">
        <strong class="clip">{instance.instance}</strong>
        <span class={instance.draining ? "exit bad" : "exit good"}>
          {instance.draining ? "draining" : "up"}
        </span>
        {isHere && <span class="exit">serves this page</span>}
      </div>
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
