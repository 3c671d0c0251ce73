/** One connection that comes back by itself: what drops is dialled again, what is refused for good is not. */

import { type Clock, systemClock } from "./clock.ts";
import type { GetToken } from "./http.ts";
import { Renewal } from "./renewal.ts";
import { type Goodbye, PROTOCOL, type Renewed, type ServerFrame, type Welcome } from "./wire.ts";

/** The part of a WebSocket that is used here, so that any implementation fits, in a browser or in Node. */
export interface SocketLike {
  /** Called with the frame's text as `data`. */
  onmessage: ((event: never) => void) | null;
  /** Called with `code` and `reason`. */
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

export type OpenSocket = (url: string, protocols: string[]) => SocketLike;

/**
 * - `connecting`: the first socket is being opened; there was no session yet
 * - `live`: the server has said welcome on this socket
 * - `resuming`: there was a session, a new socket is being opened for it
 * - `offline`: no socket; the next try is at `retryAt` (by the clock)
 * - `stopped`: closed for good, until `connect` is called again; `needsToken` where a new token would help
 */
export type ConnectionState =
  | { phase: "connecting" }
  | { phase: "live" }
  | { phase: "resuming" }
  | { phase: "offline"; retryAt: number; reason: string }
  | { phase: "stopped"; code: number; reason: string; needsToken: boolean };

export interface ConnectionOptions {
  /** The gateway's address, such as `https://gateway.example`, or that of its `/ws`. */
  url: string;
  /** Asked before each dial, and before the one it gave last expires; null means no authentication. */
  token?: GetToken;
  openSocket?: OpenSocket;
  clock?: Clock;
}

export interface ConnectionHandlers {
  onState(state: ConnectionState): void;
  onWelcome(welcome: Welcome): void;
  /** `size` is the frame's length in characters. */
  onFrame(frame: ServerFrame, size: number): void;
  onTraffic?: ((frame: string, way: "in" | "out") => void) | undefined;
  /** Presents a new token on this connection. */
  renew(token: string): Promise<Renewed>;
}

/** A dial without a `welcome`, or a probe without any frame in return, is given up after this long. */
const DEADLINE_MS = 10_000;
const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 20_000;
/** A connection that held this long was sound: the next drop starts the backoff afresh. */
const STABLE_MS = 10_000;
/** An overloaded gateway (1013) is left alone for longer at once. */
const OVERLOADED_ATTEMPT = 3;
const NEEDS_TOKEN = 4401;
/** The server will say the same again: text only, UTF-8 only, too big, broken protocol, not allowed. */
const STOPS: ReadonlySet<number> = new Set([1003, 1007, 1009, 4400, 4403, NEEDS_TOKEN]);
const PROBE_ID = "probe";
/** What a WebSocket subprotocol may be made of, within what a JWT is made of. */
const TOKEN_SHAPE = /^[\w.-]+$/;

export class Connection {
  #state: ConnectionState = { phase: "stopped", code: 1000, reason: "not connected yet", needsToken: false };
  #socket: SocketLike | null = null;
  #sessionId: string | null = null;
  #goodbye: Goodbye | null = null;
  #attempt = 0;
  /** A token is being waited for. */
  #isDialling = false;
  #dials = 0;
  #liveSince: number | null = null;
  #heartbeatMs = 25_000;
  /** Runs while a socket waits for its `welcome` or for the answer to a probe. */
  #cancelDeadline: (() => void) | null = null;
  /** The next probe while live; the next dial while offline. */
  #cancelTimer: (() => void) | null = null;

  readonly #url: string;
  readonly #token: GetToken;
  readonly #renewal: Renewal;
  readonly #openSocket: OpenSocket;
  readonly #clock: Clock;
  readonly #handlers: ConnectionHandlers;

  constructor(options: ConnectionOptions, handlers: ConnectionHandlers) {
    this.#url = socketUrl(options.url);
    this.#token = options.token ?? (() => null);
    this.#openSocket = options.openSocket ?? ((url, protocols) => new WebSocket(url, protocols));
    this.#clock = options.clock ?? systemClock;
    this.#handlers = handlers;
    this.#renewal = new Renewal(this.#clock, this.#token, handlers.renew);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Dials now, whether stopped or waiting for the next try; does nothing while a socket is there or on its way. */
  connect(): void {
    if (this.#socket === null && !this.#isDialling) this.#dial();
  }

  /** Closes for good. */
  close(): void {
    this.#stop(1000, "closed by the client", false);
  }

  /** Sends one frame; only while live. */
  send(frame: string): void {
    this.#handlers.onTraffic?.(frame, "out");
    this.#socket?.send(frame);
  }

  /** Finds out soon whether a socket that looks open still is. */
  probe(): void {
    if (this.#state.phase !== "live" || this.#cancelDeadline !== null) return;
    this.#startDeadline("the gateway did not answer");
    this.send(JSON.stringify({ type: "ping", id: PROBE_ID }));
  }

  #dial(): void {
    this.#clearTimers();
    this.#goodbye = null;
    this.#setState({ phase: this.#sessionId === null ? "connecting" : "resuming" });
    const token = this.#token();
    if (token instanceof Promise) void this.#openWith(token);
    else this.#open(token);
  }

  async #openWith(promise: Promise<string | null>): Promise<void> {
    this.#isDialling = true;
    this.#dials += 1;
    const dial = this.#dials;
    // A provider that never answers is a gateway that never says welcome.
    this.#startDeadline("the token did not come");
    const token = await promise.catch((error: Error) => error);
    if (dial !== this.#dials || !this.#isDialling) return;
    this.#isDialling = false;
    if (token instanceof Error) this.#waitAndRetry(0, `there is no token: ${token.message}`, null);
    else this.#open(token);
  }

  #open(token: string | null): void {
    this.#clearTimers();
    if (token !== null && !TOKEN_SHAPE.test(token)) {
      this.#stop(NEEDS_TOKEN, "that is no JSON Web Token", true);
      return;
    }
    const protocols = token === null ? [PROTOCOL] : [PROTOCOL, `bearer.${token}`];
    const socket = this.#openSocket(this.#address(), protocols);
    this.#socket = socket;
    this.#startDeadline("the gateway did not say welcome");
    socket.onmessage = (event: { data: unknown }) => this.#receive(event.data);
    socket.onclose = (event: { code: number; reason: string }) => this.#closed(event.code, event.reason);
    // A close always follows; Node's sockets throw where nobody listens for errors.
    socket.onerror = () => undefined;
  }

  #address(): string {
    if (this.#sessionId === null) return this.#url;
    return `${this.#url}?session_id=${encodeURIComponent(this.#sessionId)}`;
  }

  #receive(data: unknown): void {
    let frame: ServerFrame;
    try {
      frame = JSON.parse(data as string) as ServerFrame;
    } catch {
      this.#drop("the gateway sent something that is no JSON");
      return;
    }
    this.#handlers.onTraffic?.(data as string, "in");
    if (this.#state.phase === "live") this.#cancelDeadlineIfAny();
    if (frame.type === "welcome") this.#welcomed(frame);
    else if (frame.type === "goodbye") this.#goodbye = frame;
    else if (!("id" in frame && frame.id === PROBE_ID))
      this.#handlers.onFrame(frame, (data as string).length);
  }

  #welcomed(welcome: Welcome): void {
    this.#cancelDeadlineIfAny();
    this.#sessionId = welcome.session_id;
    this.#heartbeatMs = welcome.heartbeat_ms;
    this.#liveSince = this.#clock.now();
    this.#scheduleProbe();
    this.#renewal.welcomed(welcome);
    this.#setState({ phase: "live" });
    this.#handlers.onWelcome(welcome);
  }

  #scheduleProbe(): void {
    this.#cancelTimer = this.#clock.after(this.#heartbeatMs, () => {
      this.#scheduleProbe();
      this.probe();
    });
  }

  #startDeadline(reason: string): void {
    this.#cancelDeadline = this.#clock.after(DEADLINE_MS, () => this.#drop(reason));
  }

  /** Gives the socket up without waiting for a close that a dead network would never bring. */
  #drop(reason: string): void {
    const socket = this.#release();
    this.#closed(1006, reason);
    socket?.close();
  }

  #closed(closeCode: number, closeReason: string): void {
    const goodbye = this.#goodbye;
    const code = goodbye?.code ?? closeCode;
    const reason = goodbye?.reason || closeReason || "the connection was lost";
    if (STOPS.has(code) || goodbye?.reconnect === false) this.#stop(code, reason, code === NEEDS_TOKEN);
    else this.#waitAndRetry(code, reason, goodbye?.reconnect_in_ms ?? null);
  }

  #waitAndRetry(code: number, reason: string, askedMs: number | null): void {
    this.#release();
    const now = this.#clock.now();
    if (this.#liveSince !== null && now - this.#liveSince >= STABLE_MS) this.#attempt = 0;
    this.#liveSince = null;
    if (code === 1013) this.#attempt = Math.max(this.#attempt, OVERLOADED_ATTEMPT);
    const delay = askedMs ?? this.#backoffMs();
    this.#attempt += 1;
    this.#cancelTimer = this.#clock.after(delay, () => this.#dial());
    this.#setState({ phase: "offline", retryAt: now + delay, reason });
  }

  /** The first try is at once, most drops being one connection's; then full jitter, so that a crowd is no wave. */
  #backoffMs(): number {
    if (this.#attempt === 0) return 0;
    return (
      this.#clock.random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.min(this.#attempt - 1, 16))
    );
  }

  #stop(code: number, reason: string, needsToken: boolean): void {
    const socket = this.#release();
    this.#attempt = 0;
    this.#liveSince = null;
    this.#setState({ phase: "stopped", code, reason, needsToken });
    socket?.close(1000);
  }

  /** Lets go of the socket: nothing it still says is heard. */
  #release(): SocketLike | null {
    this.#clearTimers();
    this.#isDialling = false;
    this.#renewal.stop();
    const socket = this.#socket;
    this.#socket = null;
    if (socket !== null) {
      socket.onmessage = null;
      socket.onclose = null;
    }
    return socket;
  }

  #clearTimers(): void {
    this.#cancelDeadlineIfAny();
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }

  #cancelDeadlineIfAny(): void {
    this.#cancelDeadline?.();
    this.#cancelDeadline = null;
  }

  #setState(state: ConnectionState): void {
    this.#state = state;
    this.#handlers.onState(state);
  }
}

/** `ws(s)://host/ws` of any address that a gateway is known by. */
function socketUrl(url: string): string {
  const address = url.replace(/^http/, "ws").replace(/[/]+$/, "");
  return address.endsWith("/ws") ? address : `${address}/ws`;
}
