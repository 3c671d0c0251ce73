/** The page: what the tab would do, for whom, and what it does. */

import type { Pairing } from "./pairing.ts";
import { done, owner, state, type TabState } from "./state.ts";

export interface Actions {
  agree(): void;
  stop(): void;
  again(): void;
}

export function View({ actions, runtime }: { actions: Actions; runtime: () => Pairing | null }) {
  const now = state.value;
  const { title, text, kind } = words(now);
  return (
    <section class="tab-card" aria-labelledby="tab-title">
      <p class="eyebrow">Sandbox in this tab</p>
      <h1 id="tab-title" data-testid="phase" data-phase={now.phase}>
        <span class={`dot ${kind}`} aria-hidden="true" />
        {title}
      </h1>
      <p role="status" class={kind === "bad" ? "tab-bad" : "tab-text"}>
        {text}
      </p>
      {now.phase === "consent" && <Consent agree={actions.agree} pairing={runtime()} />}
      {isAtWork(now) && <Facts />}
      <div class="tab-actions">
        {isAtWork(now) && (
          <button type="button" onClick={actions.stop}>
            Stop
          </button>
        )}
        {now.phase === "failed" && (
          <button type="button" class="primary" onClick={actions.again}>
            Try again
          </button>
        )}
      </div>
    </section>
  );
}

function Consent({ agree, pairing }: { agree: () => void; pairing: Pairing | null }) {
  const vendor = pairing === null ? "" : new URL(pairing.runtime_url).host;
  return (
    <>
      <ul class="tab-terms">
        <li>
          Tasks of <strong data-testid="owner">{owner.value}</strong> will run{" "}
          <strong>on this machine</strong>, inside this tab, with its processor, memory and network
          connection. If that is not you, close this page.
        </li>
        <li>
          What runs them is a WebContainer. It is loaded from <strong>{vendor}</strong>, whose servers it
          needs all the while: they learn that you use it, and what tasks download goes through them.
        </li>
        <li>
          It is the vendor's, under the vendor's terms. <strong>Commercial use needs a licence</strong> of
          theirs; the gateway brings none.
        </li>
        <li>
          Closing or reloading this tab ends what runs in it. Keep the tab visible: hidden ones are slow.
        </li>
      </ul>
      <button type="button" class="primary" onClick={agree}>
        Run tasks of {owner.value} here
      </button>
    </>
  );
}

function Facts() {
  return (
    <dl class="tab-facts">
      <dt>Runs tasks of</dt>
      <dd data-testid="owner">{owner.value}</dd>
      <dt>Tasks done</dt>
      <dd data-testid="done">{done.value}</dd>
    </dl>
  );
}

function isAtWork({ phase }: TabState): boolean {
  return phase === "waiting" || phase === "running" || phase === "offline" || phase === "booting";
}

type Kind = "good" | "bad" | "busy" | "idle";

function words(now: TabState): { title: string; text: string; kind: Kind } {
  switch (now.phase) {
    case "unsupported":
      return { title: "This can't run here", text: now.why, kind: "bad" };
    case "unpaired":
      return {
        title: "Not paired",
        text: "Open this page by a link: the sandboxes page of the dashboard has a button for it, and `gateway pair` prints one.",
        kind: "idle",
      };
    case "pairing":
      return { title: "Pairing", text: "The gateway is asked whose sandbox this is.", kind: "busy" };
    case "expired":
      return {
        title: "The pairing has expired",
        text: `${now.why} Open this page by a new link.`,
        kind: "bad",
      };
    case "consent":
      return { title: "Do you agree?", text: "Nothing has been started yet.", kind: "idle" };
    case "standby":
      return {
        title: "Standing by",
        text: "Another tab of this browser is the sandbox. This one takes over when that one closes.",
        kind: "idle",
      };
    case "booting":
      return { title: "Starting", text: "The runtime is being loaded from its vendor.", kind: "busy" };
    case "failed":
      return { title: "That did not work", text: now.why, kind: "bad" };
    case "offline":
      return {
        title: "Offline",
        text: `${now.why} What runs goes on for eight seconds, and is taken up again if the gateway is back by then.`,
        kind: "bad",
      };
    case "waiting":
      return {
        title: "Waiting for tasks",
        text: "Connected. Tasks that ask for this sandbox run here.",
        kind: "good",
      };
    case "running":
      return {
        title: `Running task ${now.task}`,
        text: "Closing or reloading the tab would end it.",
        kind: "busy",
      };
    case "stopped":
      return { title: "Stopped", text: now.why, kind: "idle" };
  }
}
