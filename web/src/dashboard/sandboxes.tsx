import { useEffect, useState } from "preact/hooks";

import type { Instance, Sandbox, Topics } from "../client/index.ts";
import { now, session } from "./store.ts";
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
            <InstanceCard instance={instance} />
          </li>
        ))}
      </ul>
    </section>
  );
}

/** What a watched list holds, by the name of its items. */
function useWatched<T extends "sandboxes" | "instances">(topic: T, idOf: (item: Topics[T]) => string) {
  const [items, setItems] = useState<Topics[T][] | null>(null);
  useEffect(
    () =>
      session.watch(topic, (update) => {
        if ("items" in update) setItems(update.items);
        else setItems((known) => merged(known ?? [], update.item, idOf));
      }),
    [topic, idOf],
  );
  return items;
}

function merged<Item>(
  known: Item[],
  item: Item & { removed?: boolean },
  idOf: (item: Item) => string,
): Item[] {
  const others = known.filter((other) => idOf(other) !== idOf(item));
  if (item.removed) return others;
  return [...others, item].sort((a, b) => idOf(a).localeCompare(idOf(b)));
}

const sandboxId = (sandbox: Sandbox) => `${sandbox.instance} ${sandbox.sandbox_id}`;
const instanceId = (instance: Instance) => instance.instance;

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
