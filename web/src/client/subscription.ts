import type { Clock } from "./clock.ts";
import type { GatewayError } from "./errors.ts";
import { type Result, type TaskEvent, TERMINAL } from "./wire.ts";

/** What a subscription asks of its session. The callbacks run before the next frame is looked at. */
export interface SubscriptionLink {
  readonly clock: Clock;
  /** From the last seq of whichever of the task's readers is furthest behind. */
  subscribe(taskId: string, reply: SubscribeReply): void;
  /** It wants no more events for now. */
  unsubscribe(subscription: Subscription): void;
  /** The subscription is over, for whatever reason. */
  forget(subscription: Subscription): void;
  /** It stands again: `resumed` events happened while there was no connection, `lost` were trimmed. */
  resumed(resumed: number, lost: number): void;
}

export interface SubscribeReply {
  result(answer: Result<"subscribe">): void;
  error(error: GatewayError): void;
}

/** A consumer that falls behind loses its queue, not its place: past either bound it is fed anew from the log. */
const QUEUE_EVENTS = 10_000;
const QUEUE_CHARS = 8 * 1024 * 1024;
const RETRY_MS = 1_000;

type Waiter = {
  resolve(result: IteratorResult<TaskEvent, undefined>): void;
  reject(error: GatewayError): void;
};

/**
 * The events of one task, in order, without gap or repeat, across any number of connections.
 *
 * The one thing it keeps is the last `seq` it took. Where the log was trimmed, `seq` jumps.
 */
export class Subscription implements AsyncIterableIterator<TaskEvent, undefined> {
  readonly taskId: string;
  readonly #link: SubscriptionLink;
  #lastSeq: number;
  /** idle: nobody reads it yet; asking: the answer is out; full: waits for its reader; over: nothing comes any more. */
  #state: "idle" | "asking" | "following" | "full" | "over" = "idle";
  /** Counts what was asked, so that the answer to an older question is told apart. */
  #asked = 0;
  /** False until it stood once: the first time there is nothing to resume. */
  #stood = false;
  /** A connection went under it, and it does not stand again yet. */
  #cut = false;
  #queue: { event: TaskEvent; size: number }[] = [];
  #queuedChars = 0;
  #waiter: Waiter | null = null;
  #failure: GatewayError | null = null;
  #cancelRetry: (() => void) | null = null;

  constructor(link: SubscriptionLink, taskId: string, afterSeq: number) {
    this.#link = link;
    this.taskId = taskId;
    this.#lastSeq = afterSeq;
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** False while events may be missing that have already happened. */
  get isCurrent(): boolean {
    return this.#state !== "asking" || !this.#stood;
  }

  /** Whether it takes events, or has asked for them. */
  get isListening(): boolean {
    return this.#state === "asking" || this.#state === "following";
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** @throws GatewayError where the subscription failed for good. */
  next(): Promise<IteratorResult<TaskEvent, undefined>> {
    const queued = this.#queue.shift();
    if (queued !== undefined) {
      this.#queuedChars -= queued.size;
      if (this.#state === "full" && this.#queue.length === 0) this.#ask();
      return Promise.resolve({ done: false, value: queued.event });
    }
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#state === "over") return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
      if (this.#state === "idle") this.#ask();
    });
  }

  /** The gateway sends its events already: from the first, behind the answer to a submit. */
  begun(): void {
    this.#state = "following";
    this.#stood = true;
  }

  /** Ends it from the reader's side. */
  return(): Promise<IteratorResult<TaskEvent, undefined>> {
    if (this.isListening) this.#link.unsubscribe(this);
    this.#queue = [];
    this.#finish(null);
    return Promise.resolve({ done: true, value: undefined });
  }

  /** The session has a new connection: ask again from where we are. */
  reconnected(): void {
    if (this.isListening) this.#ask();
  }

  /** The connection went; what was asked on it will not be answered. */
  disconnected(): void {
    if (this.#state === "following") this.#state = "asking";
    this.#cut = this.#stood;
    this.#asked += 1;
    this.#stopRetry();
  }

  /** Nothing comes any more, and not because the task has ended. */
  fail(error: GatewayError): void {
    this.#finish(error);
  }

  /** Takes the next event; one that is not the next is a repeat, or the sign of a gap, which is asked for. */
  accept(event: TaskEvent, size: number): void {
    if (this.#state !== "following" || event.seq <= this.#lastSeq) return;
    if (event.seq !== this.#lastSeq + 1) {
      this.#ask();
      return;
    }
    this.#lastSeq = event.seq;
    this.#deliver(event, size);
    if (event.event === "status" && TERMINAL.has(event.data.status)) this.#finish(null);
  }

  #deliver(event: TaskEvent, size: number): void {
    const waiter = this.#waiter;
    if (waiter !== null) {
      this.#waiter = null;
      waiter.resolve({ done: false, value: event });
      return;
    }
    this.#queue.push({ event, size });
    this.#queuedChars += size;
    if (this.#queue.length < QUEUE_EVENTS && this.#queuedChars < QUEUE_CHARS) return;
    this.#state = "full";
    this.#link.unsubscribe(this);
  }

  #ask(): void {
    this.#stopRetry();
    this.#state = "asking";
    this.#asked += 1;
    const question = this.#asked;
    const isStale = () => question !== this.#asked || this.#state !== "asking";
    this.#link.subscribe(this.taskId, {
      result: (answer) => {
        if (!isStale()) this.#answered(answer);
      },
      error: (error) => {
        if (!isStale()) this.#refused(error);
      },
    });
  }

  #answered({ task, first_seq }: Result<"subscribe">): void {
    const lost = Math.max(0, first_seq - 1 - this.#lastSeq);
    this.#lastSeq += lost;
    this.#state = "following";
    const resumed = this.#cut ? Math.max(0, task.last_seq - this.#lastSeq) : 0;
    if (this.#stood) this.#link.resumed(resumed, lost);
    this.#stood = true;
    this.#cut = false;
    if (TERMINAL.has(task.status) && task.last_seq <= this.#lastSeq) this.#finish(null);
  }

  #refused(error: GatewayError): void {
    if (!error.retryable) {
      this.#finish(error);
      return;
    }
    const askedMs = error.details.retry_after_ms;
    const delay = typeof askedMs === "number" ? askedMs : RETRY_MS * (0.5 + this.#link.clock.random());
    this.#cancelRetry = this.#link.clock.after(delay, () => this.#ask());
  }

  #finish(failure: GatewayError | null): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#failure = failure;
    this.#stopRetry();
    this.#link.forget(this);
    const waiter = this.#waiter;
    this.#waiter = null;
    if (waiter === null) return;
    if (failure !== null) waiter.reject(failure);
    else waiter.resolve({ done: true, value: undefined });
  }

  #stopRetry(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = null;
  }
}
