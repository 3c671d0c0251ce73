/** Who is behind the socket: requests with answers, tasks to follow and lists to watch, over many connections. */

import { GatewayError } from "./errors.ts";
import {
  type Clock,
  Connection,
  type ConnectionOptions,
  type ConnectionState,
  systemClock,
} from "./socket.ts";
import { type SubscribeReply, Subscription, type SubscriptionLink } from "./subscription.ts";
import { TaskHandle } from "./task.ts";
import type {
  ErrorFrame,
  ListedTask,
  Params,
  RequestType,
  Result,
  ResultFrame,
  ServerFrame,
  SubmitParams,
  TaskEvent,
  Update,
  Welcome,
} from "./wire.ts";

/** What watching tells: all items after any doubt, else one item's newest state. */
export type WatchListener = (
  update: { items: ListedTask[] } | { item: ListedTask & { removed?: boolean } },
) => void;

export interface SessionOptions extends ConnectionOptions {
  /** Told each change of `session.state`. */
  onState?: (state: SessionState) => void;
  onWelcome?: (welcome: Welcome) => void;
  /** Makes request ids and idempotency keys: unique, 1 to 64 characters. */
  newId?: () => string;
}

/** The last return of the session: events that happened while it was away, and events it can't have any more. */
export interface Recovery {
  resumed: number;
  lost: number;
}

/** As the connection's; `live` only once everything followed is up to date again. */
export type SessionState = ConnectionState & { recovery: Recovery | null };

export interface RequestOptions {
  /** Milliseconds from the call to the answer, reconnecting included. */
  deadlineMs?: number;
}

interface Pending {
  frame: string;
  /** What is safe to say twice is said again on the next connection. */
  repeatable: boolean;
  result(result: unknown): void;
  error(error: GatewayError): void;
  cancelDeadline(): void;
}

const DEADLINE_MS = 30_000;
const WATCH_RETRY_MS = 2_000;
/** Until the server has said its own bound. */
const MAX_INFLIGHT = 64;

export class GatewaySession {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #newId: () => string;
  readonly #onState: (state: SessionState) => void;
  readonly #onWelcome: (welcome: Welcome) => void;
  readonly #link: SubscriptionLink;
  readonly #pending = new Map<string, Pending>();
  readonly #subscriptions = new Map<string, Subscription>();
  #watcher: WatchListener | null = null;
  #cancelWatchRetry: (() => void) | null = null;
  #connectionState: ConnectionState;
  #recovery: Recovery | null = null;
  #welcome: Welcome | null = null;

  constructor(options: SessionOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#newId = options.newId ?? (() => crypto.randomUUID());
    this.#onState = options.onState ?? (() => undefined);
    this.#onWelcome = options.onWelcome ?? (() => undefined);
    this.#link = this.#makeLink();
    this.#connection = new Connection(options, {
      onState: (state) => this.#connectionChanged(state),
      onWelcome: (welcome) => this.#welcomed(welcome),
      onFrame: (frame, size) => this.#dispatch(frame, size),
    });
    this.#connectionState = this.#connection.state;
  }

  get state(): SessionState {
    const state = this.#connectionState;
    const isBehind = state.phase === "live" && [...this.#subscriptions.values()].some((s) => !s.isCurrent);
    const shown: ConnectionState = isBehind ? { phase: "resuming" } : state;
    return { ...shown, recovery: this.#recovery };
  }

  /** The newest `welcome`, or null before the first. */
  get welcome(): Welcome | null {
    return this.#welcome;
  }

  /** Dials, also at once where the next try is still some way off. */
  connect(): void {
    this.#connection.connect();
  }

  /** Finds out soon whether a connection that looks open still is. */
  probe(): void {
    this.#connection.probe();
  }

  /** Closes for good; what still waits fails with `connection_closed`. */
  close(): void {
    this.#connection.close();
  }

  /**
   * Asks, and is answered, over as many connections as it takes until the deadline.
   *
   * @throws GatewayError the server's, or `deadline_exceeded`, `connection_closed`, `too_many_requests`.
   */
  request<T extends RequestType>(
    type: T,
    params: Params<T>,
    options: RequestOptions = {},
  ): Promise<Result<T>> {
    return new Promise((resolve, reject) => {
      const reply = { result: resolve as (result: unknown) => void, error: reject };
      this.#ask(type, params, reply, { deadlineMs: options.deadlineMs ?? DEADLINE_MS, repeatable: true });
    });
  }

  /**
   * Submits a task; resolves once it is durable. Its key makes it safe to ask again after a drop.
   *
   * The task is followed from its first event by iterating over what this returns.
   */
  async submit(params: SubmitParams, options: RequestOptions = {}): Promise<TaskHandle> {
    const idempotency_key = params.idempotency_key ?? this.#newId();
    const { task } = await this.request(
      "submit_task",
      { mode: "background", ...params, idempotency_key },
      options,
    );
    return new TaskHandle(this, task.task_id, task);
  }

  /** A task that exists already. */
  task(taskId: string): TaskHandle {
    return new TaskHandle(this, taskId, null);
  }

  /** The task's events after `afterSeq`; one reader per task at a time. */
  events(taskId: string, afterSeq = 0): Subscription {
    if (this.#subscriptions.has(taskId)) throw new Error(`task ${taskId} is being followed already`);
    const subscription = new Subscription(this.#link, taskId, afterSeq);
    this.#subscriptions.set(taskId, subscription);
    return subscription;
  }

  /** Watches the list of tasks; `items` come first and after each doubt. One listener; ends by what it returns. */
  watchTasks(listener: WatchListener): () => void {
    this.#watcher = listener;
    if (this.#connectionState.phase === "live") this.#watch();
    return () => {
      this.#watcher = null;
      this.#cancelWatchRetry?.();
      this.#tellIfLive("unwatch", { topic: "tasks" });
    };
  }

  #makeLink(): SubscriptionLink {
    return {
      clock: this.#clock,
      subscribe: (taskId, afterSeq, reply) => this.#subscribe(taskId, afterSeq, reply),
      unsubscribe: (taskId) => this.#tellIfLive("unsubscribe", { task_id: taskId }),
      forget: (subscription) => this.#forget(subscription),
      resumed: (resumed, lost) => this.#resumed(resumed, lost),
    };
  }

  #forget(subscription: Subscription): void {
    if (this.#subscriptions.get(subscription.taskId) !== subscription) return;
    this.#subscriptions.delete(subscription.taskId);
    this.#tellState();
  }

  #resumed(resumed: number, lost: number): void {
    if (this.#recovery !== null) {
      this.#recovery = { resumed: this.#recovery.resumed + resumed, lost: this.#recovery.lost + lost };
    }
    this.#tellState();
  }

  /** For what a lost connection does by itself. */
  #tellIfLive(type: RequestType, params: object): void {
    if (this.#connectionState.phase === "live") this.#ask(type, params, ignoreReply, once);
  }

  /** Left to `reconnected` while there is no connection. */
  #subscribe(taskId: string, afterSeq: number, reply: SubscribeReply): void {
    if (this.#connectionState.phase !== "live") return;
    const params = { task_id: taskId, after_seq: afterSeq };
    this.#ask("subscribe", params, reply as Pick<Pending, "result" | "error">, once);
  }

  #watch(): void {
    const isWanted = this.#watcher;
    this.#ask(
      "watch",
      { topic: "tasks" },
      {
        result: (result) => this.#watcher?.({ items: (result as { items: ListedTask[] }).items }),
        error: (error) => {
          if (!error.retryable || this.#watcher !== isWanted) return;
          this.#cancelWatchRetry = this.#clock.after(WATCH_RETRY_MS, () => this.#watch());
        },
      },
      once,
    );
  }

  #ask(
    type: RequestType,
    params: object,
    reply: Pick<Pending, "result" | "error">,
    { deadlineMs, repeatable }: { deadlineMs: number; repeatable: boolean },
  ): void {
    const refusal = this.#refusal();
    if (refusal !== null) {
      reply.error(refusal);
      return;
    }
    const id = this.#newId();
    const frame = JSON.stringify({ type, id, ...params });
    const cancelDeadline = this.#clock.after(deadlineMs, () => {
      this.#pending.delete(id);
      reply.error(new GatewayError("deadline_exceeded", `No answer within ${deadlineMs / 1000} s.`, true));
    });
    this.#pending.set(id, { ...reply, frame, repeatable, cancelDeadline });
    if (this.#connectionState.phase === "live") this.#connection.send(frame);
  }

  /** Why nothing can be asked now, or null. */
  #refusal(): GatewayError | null {
    if (this.#connectionState.phase === "stopped") return closedError(this.#connectionState);
    if (this.#pending.size < (this.#welcome?.limits.max_inflight ?? MAX_INFLIGHT)) return null;
    return new GatewayError("too_many_requests", "Too many requests wait for an answer.", true);
  }

  #welcomed(welcome: Welcome): void {
    this.#welcome = welcome;
    for (const pending of this.#pending.values()) this.#connection.send(pending.frame);
    for (const subscription of this.#subscriptions.values()) subscription.reconnected();
    if (this.#watcher !== null) this.#watch();
    this.#onWelcome(welcome);
    this.#tellState();
  }

  #connectionChanged(state: ConnectionState): void {
    const wasLive = this.#connectionState.phase === "live";
    this.#connectionState = state;
    if (wasLive) this.#disconnected();
    if (state.phase === "stopped") this.#failAll(closedError(state));
    this.#tellState();
  }

  #disconnected(): void {
    this.#recovery = { resumed: 0, lost: 0 };
    this.#cancelWatchRetry?.();
    for (const subscription of this.#subscriptions.values()) subscription.disconnected();
    const lost = new GatewayError("connection_lost", "The connection was lost.", true);
    for (const [id, pending] of this.#pending) if (!pending.repeatable) this.#settle(id)?.error(lost);
  }

  #failAll(error: GatewayError): void {
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.error(error);
    for (const subscription of [...this.#subscriptions.values()]) subscription.fail(error);
  }

  #dispatch(frame: ServerFrame, size: number): void {
    if (frame.type === "event") this.#deliver(frame, size);
    else if (frame.type === "update") this.#updated(frame);
    else if (frame.type === "result" || frame.type === "error") this.#answered(frame);
  }

  #deliver(event: TaskEvent, size: number): void {
    this.#subscriptions.get(event.task_id)?.accept(event, size);
  }

  #updated(update: Update): void {
    if (update.items !== undefined) this.#watcher?.({ items: update.items as unknown as ListedTask[] });
    else this.#watcher?.({ item: update.item as unknown as ListedTask });
  }

  #answered(frame: ResultFrame | ErrorFrame): void {
    const pending = frame.id === null ? undefined : this.#settle(frame.id);
    if (frame.type === "result") pending?.result(frame.result);
    else pending?.error(GatewayError.fromFrame(frame));
  }

  #settle(id: string): Pending | undefined {
    const pending = this.#pending.get(id);
    pending?.cancelDeadline();
    this.#pending.delete(id);
    return pending;
  }

  #tellState(): void {
    this.#onState(this.state);
  }
}

/** For what the next connection asks anew by itself. */
const once = { deadlineMs: DEADLINE_MS, repeatable: false };
const ignoreReply = { result: () => undefined, error: () => undefined };

function closedError(state: ConnectionState): GatewayError {
  const details = state.phase === "stopped" ? { code: state.code } : {};
  const reason = state.phase === "stopped" ? state.reason : "closed";
  return new GatewayError("connection_closed", `The connection is closed: ${reason}.`, false, details);
}
