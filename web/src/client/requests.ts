/** Questions and their answers, told apart by id, over as many connections as it takes. */

import type { Clock } from "./clock.ts";
import { GatewayError } from "./errors.ts";
import type { ErrorFrame, RequestType, ResultFrame } from "./wire.ts";

export interface Reply {
  result(result: unknown): void;
  error(error: GatewayError): void;
}

export interface AskOptions {
  /** Milliseconds from the call to the answer, reconnecting included; Infinity waits as long as it takes. */
  deadlineMs: number;
  /** What is safe to say twice is said again on the next connection; else a lost one is its end. */
  repeatable: boolean;
}

/** What a request stands on. */
export interface RequestLink {
  readonly clock: Clock;
  readonly newId: () => string;
  isLive(): boolean;
  /** Why nothing can be asked any more, or null. */
  refusal(): GatewayError | null;
  maxInflight(): number;
  send(frame: string): void;
}

interface Pending extends Reply {
  frame: string;
  repeatable: boolean;
  cancelDeadline(): void;
}

export class PendingRequests {
  readonly #link: RequestLink;
  readonly #pending = new Map<string, Pending>();

  constructor(link: RequestLink) {
    this.#link = link;
  }

  /** The reply is called before the next frame is looked at. */
  ask(type: RequestType, params: object, reply: Reply, { deadlineMs, repeatable }: AskOptions): void {
    const refusal = this.#refusal();
    if (refusal !== null) {
      reply.error(refusal);
      return;
    }
    const id = this.#link.newId();
    const frame = JSON.stringify({ type, id, ...params });
    const cancelDeadline = this.#deadline(deadlineMs, () => {
      this.#pending.delete(id);
      reply.error(new GatewayError("deadline_exceeded", `No answer within ${deadlineMs / 1000} s.`, true));
    });
    this.#pending.set(id, { ...reply, frame, repeatable, cancelDeadline });
    if (this.#link.isLive()) this.#link.send(frame);
  }

  answered(frame: ResultFrame | ErrorFrame): void {
    const pending = frame.id === null ? undefined : this.#settle(frame.id);
    if (frame.type === "result") pending?.result(frame.result);
    else pending?.error(GatewayError.fromFrame(frame));
  }

  /** Says again on a new connection what the old one left unanswered. */
  reconnected(): void {
    for (const { frame } of this.#pending.values()) this.#link.send(frame);
  }

  disconnected(): void {
    const lost = new GatewayError("connection_lost", "The connection was lost.", true);
    for (const [id, { repeatable }] of this.#pending) if (!repeatable) this.#settle(id)?.error(lost);
  }

  failAll(error: GatewayError): void {
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.error(error);
  }

  #refusal(): GatewayError | null {
    const refusal = this.#link.refusal();
    if (refusal !== null || this.#pending.size < this.#link.maxInflight()) return refusal;
    return new GatewayError("too_many_requests", "Too many requests wait for an answer.", true);
  }

  #deadline(ms: number, callback: () => void): () => void {
    return Number.isFinite(ms) ? this.#link.clock.after(ms, callback) : () => undefined;
  }

  #settle(id: string): Pending | undefined {
    const pending = this.#pending.get(id);
    pending?.cancelDeadline();
    this.#pending.delete(id);
    return pending;
  }
}
