import type { ConnectionState } from "../client/index.ts";
import { connection, now, session } from "./store.ts";

const WORDS: Record<ConnectionState["phase"], string> = {
  connecting: "Connecting",
  live: "Live",
  resuming: "Resuming",
  offline: "Offline",
  stopped: "Disconnected",
};

/** Says what the connection really is; what it says changes rarely, so it may be read out. */
export function ConnectionPill() {
  const state = connection.value;
  return (
    <div class="pill-area">
      <span class={`pill pill-${state.phase}`} role="status" data-testid="connection">
        <span class="dot" aria-hidden="true" />
        <span>{WORDS[state.phase]}</span>
        <Detail />
      </span>
      {state.phase === "offline" && (
        <button type="button" class="small" onClick={() => session.connect()}>
          Try now
        </button>
      )}
      {state.phase === "stopped" && !state.needsToken && (
        <button type="button" class="small" onClick={() => session.connect()}>
          Connect
        </button>
      )}
    </div>
  );
}

function Detail() {
  const state = connection.value;
  if (state.phase === "live" && state.recovery !== null) {
    const { resumed, lost } = state.recovery;
    return (
      <span class={lost > 0 ? "pill-detail bad" : "pill-detail"}>
        resumed {resumed}, lost {lost}
      </span>
    );
  }
  if (state.phase === "offline") return <Countdown retryAt={state.retryAt} />;
  return null;
}

function Countdown({ retryAt }: { retryAt: number }) {
  // Read for its tick; the try is timed by this machine's clock, not the server's.
  void now.value;
  const seconds = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
  return (
    <span class="pill-detail" aria-hidden="true">
      {seconds === 0 ? "trying…" : `retry in ${seconds} s`}
    </span>
  );
}
