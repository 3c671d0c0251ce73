/**
 * A session's frames on their way to its bridge, over one socket or over several in turn.
 *
 * Each frame has a number and is kept when it has been sent, for the bridge may say on its next socket that it has none
 * behind a certain number. It grants credit for what it has stored, so what it may lack is never more than the last
 * `WINDOW_BYTES` of credit spent, with the small frames between.
 */

import { type Said, WINDOW_BYTES } from "./frames.ts";

export interface Line {
  send(text: string): void;
}

interface Sent {
  seq: number;
  text: string;
  /** Credit that the session had spent before this frame, and what it costs. */
  spentBefore: number;
  cost: number;
}

/** With less than a character's worth, a session could neither send nor wait. */
const MIN_ROOM_BYTES = 4;

export class Channel {
  /** The number of the last frame made. */
  lastSeq = 0;
  /** Where the frames go; null while the bridge is away. */
  line: Line | null;
  readonly sessionId: string;
  #frames: Sent[] = [];
  #sentSeq = 0;
  #spent = 0;
  #credit = WINDOW_BYTES;
  #roomWanted: (() => void)[] = [];

  constructor(sessionId: string, line: Line) {
    this.sessionId = sessionId;
    this.line = line;
  }

  /** Bytes that may be sent now. */
  get room(): number {
    return this.#credit >= MIN_ROOM_BYTES ? this.#credit : 0;
  }

  /** Resolves when there may be room. */
  untilRoom(): Promise<void> {
    return this.room > 0 ? Promise.resolve() : new Promise((resolve) => this.#roomWanted.push(resolve));
  }

  grant(bytes: number): void {
    this.#setCredit(this.#credit + bytes);
  }

  send(frame: Said, cost = 0): void {
    this.lastSeq += 1;
    const text = JSON.stringify({ session_id: this.sessionId, ...frame, seq: this.lastSeq });
    this.#frames.push({ seq: this.lastSeq, text, spentBefore: this.#spent, cost });
    this.#spent += cost;
    this.#credit -= cost;
    this.flush();
  }

  /** Sends what has not been sent over the present socket, in order. */
  flush(): void {
    if (this.line === null) return;
    for (const { seq, text } of this.#frames) {
      if (seq <= this.#sentSeq) continue;
      this.#sentSeq = seq;
      this.line.send(text);
    }
    this.#forget();
  }

  /** Drops what was sent and can't be asked for again. */
  #forget(): void {
    const covered = this.#spent - WINDOW_BYTES;
    const isKept = ({ seq, spentBefore, cost }: Sent) =>
      seq > this.#sentSeq || spentBefore + Math.max(cost, 1) > covered;
    const first = this.#frames.findIndex(isKept);
    this.#frames.splice(0, first < 0 ? this.#frames.length : first);
  }

  /** The socket is gone: what comes now is kept for the next one, and is no more than a window. */
  detach(): void {
    this.line = null;
    this.#credit = Math.min(this.#credit, WINDOW_BYTES);
  }

  /**
   * Goes on over `line` behind the frame `afterSeq`, with the credit of a bridge that has stored so much; false where
   * what follows that is not there any more. Nothing is sent before `flush`.
   */
  attach(line: Line, afterSeq: number): boolean {
    const firstSeq = this.#frames[0]?.seq ?? this.lastSeq + 1;
    if (afterSeq < firstSeq - 1 || afterSeq > this.lastSeq) return false;
    this.#frames = this.#frames.filter(({ seq }) => seq > afterSeq);
    this.#sentSeq = afterSeq;
    this.line = line;
    this.#setCredit(WINDOW_BYTES - this.#frames.reduce((sum, { cost }) => sum + cost, 0));
    return true;
  }

  #setCredit(credit: number): void {
    this.#credit = credit;
    if (this.room === 0) return;
    for (const wake of this.#roomWanted.splice(0)) wake();
  }
}
