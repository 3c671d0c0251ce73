/** The tab as a guest of its gateway: it dials in, says who it is, and does as it is told; it dials again when it must. */

import type { Line } from "./channel.ts";
import { ISOLATION } from "./endings.ts";
import { PROTOCOL, type ToSandbox } from "./frames.ts";
import { door, protocols } from "./pairing.ts";
import { MAX_SESSIONS, type Sessions } from "./sessions.ts";

const BACKOFF_BASE_MS = 200;
const BACKOFF_MAX_MS = 5_000;
/** A connection that held so long was a good one: the next attempt begins at the base. */
const HELD_MS = 5_000;
const DIAL_MS = 10_000;
/** What a tab does of the protocol's extensions. It can't freeze a task, hold back its output, or limit its memory. */
const CAPABILITIES = ["stdin", "tty", "serve", "collect"];

export interface Events {
  onConnected(): void;
  onOffline(why: string): void;
  /** It would be refused again: by its token (`isExpired`), or for good. */
  onRefused(why: string, isExpired: boolean): void;
}

export interface Identity {
  sandboxId: string;
  /** Of this load of the page: what ran in an earlier one is gone. */
  bootId: string;
  token(): string;
}

export class Guest {
  readonly #identity: Identity;
  readonly #sessions: Sessions;
  readonly #events: Events;
  #socket: WebSocket | null = null;
  #line: Line | null = null;
  #goodbye: { code: number; reason: string; reconnect_in_ms: number | null } | null = null;
  #failures = 0;
  #connectedAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  constructor(identity: Identity, sessions: Sessions, events: Events) {
    this.#identity = identity;
    this.#sessions = sessions;
    this.#events = events;
  }

  /** Dials now, whatever it was waiting for. */
  dial(): void {
    if (this.#isStopped || this.#socket !== null) return;
    clearTimeout(this.#timer);
    const socket = new WebSocket(door(), protocols(this.#identity.token()));
    this.#socket = socket;
    this.#goodbye = null;
    this.#timer = setTimeout(() => this.#lost(socket, 1006), DIAL_MS);
    const line: Line = { send: (text) => socket.send(text) };
    socket.onopen = () => this.#greet(line);
    socket.onmessage = ({ data }) => socket === this.#socket && this.#hear(JSON.parse(data as string), line);
    socket.onclose = ({ code }) => this.#lost(socket, code);
  }

  /** The network is gone, as the browser says: what nobody takes is not to be waited for. */
  drop(): void {
    if (this.#socket !== null) this.#lost(this.#socket, 1006);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
  }

  #greet(line: Line): void {
    const hello = {
      type: "hello",
      protocol: PROTOCOL,
      sandbox_id: this.#identity.sandboxId,
      boot_id: this.#identity.bootId,
      runtime: "webcontainer",
      max_sessions: MAX_SESSIONS,
      isolation: ISOLATION,
      capabilities: CAPABILITIES,
      labels: {},
      resume: this.#sessions.offers(),
    };
    line.send(JSON.stringify(hello));
  }

  #lost(socket: WebSocket, code: number): void {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.#line = null;
    clearTimeout(this.#timer);
    socket.onclose = null;
    socket.close();
    this.#sessions.leave();
    if (this.#isStopped) return;
    const told = this.#goodbye;
    const end = told?.code ?? code;
    if (end === 4401) this.#events.onRefused(told?.reason ?? "The gateway does not take the token.", true);
    else if (end === 4400 || end === 4403)
      this.#events.onRefused(told?.reason ?? "The gateway refuses this tab.", false);
    else this.#again(told?.reason ?? "The gateway is not reached.", told?.reconnect_in_ms ?? null);
  }

  #again(why: string, waitMs: number | null): void {
    if (this.#connectedAt > 0 && performance.now() - this.#connectedAt > HELD_MS) this.#failures = 0;
    this.#connectedAt = 0;
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** Math.min(this.#failures, 16));
    this.#failures += 1;
    this.#events.onOffline(why);
    this.#timer = setTimeout(() => this.dial(), waitMs ?? Math.random() * ceiling);
  }

  // --- frames

  #hear(frame: ToSandbox, line: Line): void {
    switch (frame.type) {
      case "hello":
        this.#agreed(frame, line);
        break;
      case "goodbye":
        this.#goodbye = frame;
        break;
      case "health_check":
        line.send(JSON.stringify(this.#health()));
        break;
      case "execute_task":
      case "stream_task":
        this.#sessions.accept(frame, line);
        break;
      case "file_chunk":
        this.#sessions.stage(frame);
        break;
      case "cancel_task":
        this.#sessions.cancel(frame.session_id, line);
        break;
      case "close_session":
        this.#sessions.close(frame.session_id);
        break;
      default:
        this.#steer(frame);
    }
  }

  #health(): object {
    const active_sessions = this.#sessions.active;
    return { type: "health", status: "healthy", active_sessions, max_sessions: MAX_SESSIONS };
  }

  #agreed(frame: ToSandbox & { type: "hello" }, line: Line): void {
    if (this.#line === null) {
      this.#line = line;
      clearTimeout(this.#timer);
      this.#connectedAt = performance.now();
      this.#events.onConnected();
    }
    for (const { session_id, action, after_seq } of frame.sessions ?? []) {
      if (action === "kill") this.#sessions.cancel(session_id, line);
      else this.#sessions.resume(session_id, line, after_seq ?? 0);
    }
  }

  /** For a session that has just ended these come late, and nobody waits for an answer. */
  #steer(frame: ToSandbox): void {
    if (!("session_id" in frame)) return;
    const stay = this.#sessions.get(frame.session_id);
    if (frame.type === "credit") stay?.channel.grant(frame.bytes);
    else if (frame.type === "task_input")
      stay?.session.put(frame.data ?? "", frame.eof === true, frame.seq ?? stay.session.inputSeq + 1);
    else if (frame.type === "resize") stay?.session.resize(frame);
  }
}
