/** Who is behind the socket: requests with answers, tasks to follow and lists to watch, over many connections. */

import { type Clock, systemClock } from "./clock.ts";
import { GatewayError } from "./errors.ts";
import { Http } from "./http.ts";
import { type AskOptions, PendingRequests, type Reply, type RequestLink } from "./requests.ts";
import { Connection, type ConnectionOptions, type ConnectionState } from "./socket.ts";
import { Subscription, type SubscriptionLink } from "./subscription.ts";
import type { FileSet } from "./tar.ts";
import { TaskHandle } from "./task.ts";
import { Watches, type WatchLink, type WatchListener } from "./watches.ts";
import type {
  AgentInfo,
  Instance,
  Pairing,
  Params,
  Recovered,
  RequestType,
  Result,
  ServerFrame,
  SubmitParams,
  Topic,
  Welcome,
  Whoami,
} from "./wire.ts";

export interface SessionOptions extends ConnectionOptions {
  /** Told each change of `session.state`. */
  onStateChange?: (state: SessionState) => void;
  onWelcome?: (welcome: Welcome) => void;
  /** Shown each frame that comes or goes, as text: for looking on, not for deciding. */
  onTraffic?: (frame: string, way: "in" | "out") => void;
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

export type RequestOptions = Partial<AskOptions>;

const DEADLINE_MS = 30_000;
/** Until the server has said its own bound. */
const MAX_INFLIGHT = 64;
/** For what the next connection asks anew by itself. */
const ONCE: AskOptions = { deadlineMs: DEADLINE_MS, repeatable: false };
const NO_REPLY: Reply = { result: () => undefined, error: () => undefined };

export class GatewaySession {
  /** The same gateway by HTTP. */
  readonly http: Http;
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #newId: () => string;
  readonly #options: SessionOptions;
  readonly #requests: PendingRequests;
  readonly #watches: Watches;
  readonly #link: SubscriptionLink;
  readonly #subscriptions = new Map<string, Set<Subscription>>();
  #connectionState: ConnectionState;
  #recovery: Recovery | null = null;
  /** The state that was told last, as JSON: it is told once. */
  #told = "";
  #welcome: Welcome | null = null;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#newId = options.newId ?? (() => crypto.randomUUID());
    this.#requests = new PendingRequests(this.#requestLink());
    this.#watches = new Watches(this.#watchLink());
    this.#link = this.#subscriptionLink();
    this.#connection = new Connection(options, {
      onState: (state) => this.#connectionChanged(state),
      onWelcome: (welcome) => this.#welcomed(welcome),
      onFrame: (frame, size) => this.#dispatch(frame, size),
      onTraffic: options.onTraffic,
      renew: (token) => this.request("authenticate", { token }),
    });
    this.#connectionState = this.#connection.state;
    this.http = new Http(options.url, options.token ?? (() => null));
  }

  get state(): SessionState {
    const state = this.#connectionState;
    const isBehind = state.phase === "live" && this.#readers().some((reader) => !reader.isCurrent);
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
   * @throws GatewayError the server's, or `deadline_exceeded`, `connection_closed`, `connection_lost`, `too_many_requests`.
   */
  request<T extends RequestType>(
    type: T,
    params: Params<T>,
    options: RequestOptions = {},
  ): Promise<Result<T>> {
    return new Promise((resolve, reject) => {
      const reply = { result: resolve as (result: unknown) => void, error: reject };
      this.#requests.ask(type, params, reply, { deadlineMs: DEADLINE_MS, repeatable: true, ...options });
    });
  }

  /**
   * Submits a task; resolves once it is durable, with `mode` `blocking` once it has ended. Its key makes it safe to ask
   * again after a drop. In mode `streaming`, the default, its events come at once, and wait for whoever iterates over it.
   */
  submit(params: SubmitParams, options: RequestOptions = {}): Promise<TaskHandle> {
    const asked = { mode: "streaming" as const, ...params };
    const body = { ...asked, idempotency_key: params.idempotency_key ?? this.#newId() };
    const deadlineMs = asked.mode === "blocking" ? Number.POSITIVE_INFINITY : DEADLINE_MS;
    return new Promise((resolve, reject) => {
      const reply: Reply = {
        result: (result) => resolve(this.#submitted(result, asked.mode)),
        error: reject,
      };
      this.#requests.ask("submit_task", body, reply, { deadlineMs, repeatable: true, ...options });
    });
  }

  /** Submits a task with files that go by HTTP, so that they may be larger than a frame. @throws GatewayError */
  async upload(params: SubmitParams, files: FileSet): Promise<TaskHandle> {
    const task = await this.http.upload({ idempotency_key: this.#newId(), ...params }, files);
    return new TaskHandle(this, task.task_id, task);
  }

  /** A task that exists already. */
  task(taskId: string): TaskHandle {
    return new TaskHandle(this, taskId, null);
  }

  /** The task's events after `afterSeq`. Readers of one task share its subscription. */
  events(taskId: string, afterSeq = 0): Subscription {
    const subscription = new Subscription(this.#link, taskId, afterSeq);
    const readers = this.#subscriptions.get(taskId) ?? new Set();
    this.#subscriptions.set(taskId, readers.add(subscription));
    return subscription;
  }

  /** Tasks, newest first, a page at a time. @throws GatewayError */
  list(params: Params<"list_tasks"> = {}): Promise<Result<"list_tasks">> {
    return this.request("list_tasks", params);
  }

  /** Watches a list: its items come first and after each doubt, then what changes. Ends by what it returns. */
  watch<T extends Topic>(topic: T, listener: WatchListener<T>): () => void {
    return this.#watches.add(topic, listener);
  }

  /** Workflows, newest first, a page at a time. @throws GatewayError */
  workflows(params: Params<"list_workflows"> = {}): Promise<Result<"list_workflows">> {
    return this.request("list_workflows", params);
  }

  /** A workflow's checkpoints, oldest first, a page at a time. @throws GatewayError */
  checkpoints(workflow_id: string, params: { limit?: number; cursor?: string } = {}) {
    return this.request("list_checkpoints", { workflow_id, ...params });
  }

  /**
   * Has a workflow, or with `fork` a copy of it, go on from a checkpoint: the newest, where none is named.
   *
   * Not said again over a lost connection: `connection_lost` leaves open whether it goes on. @throws GatewayError
   */
  async recover(
    workflow_id: string,
    params: Omit<Params<"recover_workflow">, "workflow_id"> = {},
  ): Promise<{ task: TaskHandle; workflow: Recovered["workflow"] }> {
    const body = { workflow_id, ...params };
    const { task, workflow } = await this.request("recover_workflow", body, { repeatable: false });
    return { task: new TaskHandle(this, task.task_id, task), workflow };
  }

  /** The agents that tasks can be for, with the JSON Schema of each one's input. @throws GatewayError */
  async agents(): Promise<AgentInfo[]> {
    return (await this.http.json<{ agents: AgentInfo[] }>("/v1/agents")).agents;
  }

  /** The gateway's processes. @throws GatewayError */
  async instances(): Promise<Instance[]> {
    return (await this.http.json<{ instances: Instance[] }>("/v1/instances")).instances;
  }

  /** What makes the browser's tab that opens its `path` at the gateway a sandbox of yours, once. @throws GatewayError */
  pair(): Promise<Pairing> {
    return this.http.post<Pairing>("/v1/pairings", {});
  }

  whoami(): Promise<Whoami> {
    return this.http.json<Whoami>("/v1/whoami");
  }

  #submitted(result: unknown, mode: string): TaskHandle {
    const { task } = result as Result<"submit_task">;
    // Its events follow this answer at once: whoever is to take them has to be there now.
    const events = mode === "streaming" ? this.events(task.task_id) : null;
    events?.begun();
    return new TaskHandle(this, task.task_id, task, events);
  }

  #requestLink(): RequestLink {
    return {
      clock: this.#clock,
      newId: this.#newId,
      isLive: () => this.#connectionState.phase === "live",
      refusal: () => (this.#connectionState.phase === "stopped" ? closedError(this.#connectionState) : null),
      maxInflight: () => this.#welcome?.limits.max_inflight ?? MAX_INFLIGHT,
      send: (frame) => this.#connection.send(frame),
    };
  }

  #watchLink(): WatchLink {
    return {
      clock: this.#clock,
      isLive: () => this.#connectionState.phase === "live",
      watch: (topic, reply) => this.#requests.ask("watch", { topic }, reply, ONCE),
      unwatch: (topic) => this.#tellIfLive("unwatch", { topic }),
    };
  }

  #subscriptionLink(): SubscriptionLink {
    return {
      clock: this.#clock,
      // Left to `reconnected` while there is no connection.
      subscribe: (taskId, reply) =>
        this.#tellIfLive("subscribe", { task_id: taskId, after_seq: this.#place(taskId) }, reply as Reply),
      unsubscribe: (subscription) => this.#unsubscribe(subscription),
      forget: (subscription) => this.#forget(subscription),
      resumed: (resumed, lost) => this.#resumed(resumed, lost),
    };
  }

  /** For what a lost connection does by itself. */
  #tellIfLive(type: RequestType, params: object, reply: Reply = NO_REPLY): void {
    if (this.#connectionState.phase === "live") this.#requests.ask(type, params, reply, ONCE);
  }

  #readers(): Subscription[] {
    return [...this.#subscriptions.values()].flatMap((readers) => [...readers]);
  }

  /** The task's readers share one subscription: it begins where the first of them is, and each drops what it has. */
  #place(taskId: string): number {
    const readers = [...(this.#subscriptions.get(taskId) ?? [])].filter((reader) => reader.isListening);
    return Math.min(...readers.map((reader) => reader.lastSeq));
  }

  /** Nobody's events end because another reader has enough of them. */
  #unsubscribe(subscription: Subscription): void {
    const readers = [...(this.#subscriptions.get(subscription.taskId) ?? [])];
    if (readers.some((other) => other !== subscription && other.isListening)) return;
    this.#tellIfLive("unsubscribe", { task_id: subscription.taskId });
  }

  #forget(subscription: Subscription): void {
    const readers = this.#subscriptions.get(subscription.taskId);
    readers?.delete(subscription);
    if (readers?.size === 0) this.#subscriptions.delete(subscription.taskId);
    this.#tellState();
  }

  #resumed(resumed: number, lost: number): void {
    if (this.#recovery !== null) {
      this.#recovery = { resumed: this.#recovery.resumed + resumed, lost: this.#recovery.lost + lost };
    }
    this.#tellState();
  }

  #welcomed(welcome: Welcome): void {
    this.#welcome = welcome;
    this.#requests.reconnected();
    for (const reader of this.#readers()) reader.reconnected();
    this.#watches.reconnected();
    this.#options.onWelcome?.(welcome);
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
    this.#watches.disconnected();
    for (const reader of this.#readers()) reader.disconnected();
    this.#requests.disconnected();
  }

  #failAll(error: GatewayError): void {
    this.#requests.failAll(error);
    for (const reader of this.#readers()) reader.fail(error);
  }

  #dispatch(frame: ServerFrame, size: number): void {
    if (frame.type === "event") {
      for (const reader of this.#subscriptions.get(frame.task_id) ?? []) reader.accept(frame, size);
    } else if (frame.type === "update") this.#watches.updated(frame);
    else if (frame.type === "result" || frame.type === "error") this.#requests.answered(frame);
  }

  #tellState(): void {
    const told = JSON.stringify(this.state);
    if (told === this.#told) return;
    this.#told = told;
    this.#options.onStateChange?.(this.state);
  }
}

function closedError(state: ConnectionState): GatewayError {
  const details = state.phase === "stopped" ? { close_code: state.code } : {};
  const reason = state.phase === "stopped" ? state.reason : "closed";
  return new GatewayError("connection_closed", `The connection is closed: ${reason}.`, false, details);
}
