import type { Clock, SocketLike } from "../src/client/index.ts";
import { GatewaySession } from "../src/client/index.ts";

type Frame = { [key: string]: unknown };

/** The far end of one socket, played by the test: it sees what was sent and says what comes back. */
export class ScriptedSocket implements SocketLike {
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly sent: Frame[] = [];
  isClosed = false;
  readonly url: string;
  readonly protocols: string[];

  constructor(url: string, protocols: string[]) {
    this.url = url;
    this.protocols = protocols;
  }

  send(data: string): void {
    this.sent.push(JSON.parse(data) as Frame);
  }

  close(): void {
    this.isClosed = true;
  }

  says(...frames: Frame[]): void {
    for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  welcomes(session_id = "s-1", more: Frame = {}): void {
    const limits = { max_inflight: 64 };
    this.says({ type: "welcome", session_id, heartbeat_ms: 25_000, limits, expires_at: null, ...more });
  }

  drops(code = 1006, reason = ""): void {
    this.onclose?.({ code, reason });
  }

  /** The newest request of a type. */
  asked(type: string): Frame {
    const frame = this.sent.findLast((sent) => sent.type === type);
    if (frame === undefined) throw new Error(`no ${type} among ${JSON.stringify(this.sent)}`);
    return frame;
  }

  answers(type: string, result: Frame): void {
    this.says({ type: "result", id: this.asked(type).id, result });
  }

  refuses(type: string, code: string, retryable = false): void {
    this.says({ type: "error", id: this.asked(type).id, code, message: code, retryable });
  }

  answersSubscribe(last_seq: number, first_seq = (this.asked("subscribe").after_seq as number) + 1): void {
    const task = { task_id: "t-1", status: "running", last_seq };
    this.answers("subscribe", { task, recovered: true, first_seq });
  }

  sendsOutput(...seqs: number[]): void {
    for (const seq of seqs) {
      this.says({
        type: "event",
        task_id: "t-1",
        seq,
        event: "output",
        data: { stream: "stdout", text: `${seq}` },
      });
    }
  }

  sendsEnd(seq: number): void {
    this.says({ type: "event", task_id: "t-1", seq, event: "status", data: { status: "completed" } });
  }
}

/** A clock that the test turns; chance is always one half. */
export class ManualClock implements Clock {
  #now = 0;
  #timers: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  random(): number {
    return 0.5;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#now + ms, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Turns the clock on by `ms`, and calls what falls due, in order. */
  turn(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.#now = due.at;
      due.callback();
    }
    this.#now = end;
  }
}

/** Until all that is ready to run has run. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A session on scripted sockets, with all that a test needs to see of it. */
export class Stage {
  readonly clock = new ManualClock();
  readonly sockets: ScriptedSocket[] = [];
  /** Each phase that the session told. */
  readonly told: string[] = [];
  readonly session: GatewaySession;
  token: string | null | Promise<string> = null;
  #ids = 0;

  constructor() {
    this.session = new GatewaySession({
      url: "ws://gateway/ws",
      token: () => this.token,
      clock: this.clock,
      onStateChange: ({ phase }) => this.told.push(phase),
      newId: () => `id-${++this.#ids}`,
      openSocket: (url, protocols) => {
        const socket = new ScriptedSocket(url, protocols);
        this.sockets.push(socket);
        return socket;
      },
    });
  }

  static live(): Stage {
    const stage = new Stage();
    stage.session.connect();
    stage.socket.welcomes();
    return stage;
  }

  get socket(): ScriptedSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error("nobody has dialled");
    return socket;
  }

  get phase(): string {
    return this.session.state.phase;
  }

  /** Waits out the pause after a drop, so that the next socket is there. */
  redials(): ScriptedSocket {
    const state = this.session.state;
    if (state.phase === "offline") this.clock.turn(state.retryAt - this.clock.now());
    return this.socket;
  }
}

/** Chance that a seed replays (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** A whole number in [0, `most`). */
  below(most: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % most;
  }
}
