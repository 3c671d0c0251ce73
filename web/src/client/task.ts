import { TaskFailedError } from "./errors.ts";
import type { Http } from "./http.ts";
import type { Subscription } from "./subscription.ts";
import {
  type EventPage,
  type Params,
  type RequestType,
  type Result,
  type Shared,
  type Task,
  type TaskEvent,
  type TaskFile,
  TERMINAL,
} from "./wire.ts";

/** What a task needs of the session that it belongs to. */
export interface TaskSession {
  readonly http: Http;
  request<T extends RequestType>(type: T, params: Params<T>): Promise<Result<T>>;
  events(taskId: string, afterSeq?: number): Subscription;
}

type Wish = "cancel_task" | "pause_task" | "resume_task";

/** One task of the gateway. `for await (const event of task)` gives its events from the first to the last. */
export class TaskHandle implements AsyncIterable<TaskEvent> {
  readonly taskId: string;
  /** The task as its submit was answered; null for one that was only named. */
  readonly submitted: Task | null;
  readonly #session: TaskSession;
  /** What has come since the submit, until somebody reads it. */
  #begun: Subscription | null;

  constructor(
    session: TaskSession,
    taskId: string,
    submitted: Task | null,
    begun: Subscription | null = null,
  ) {
    this.#session = session;
    this.taskId = taskId;
    this.submitted = submitted;
    this.#begun = begun;
  }

  [Symbol.asyncIterator](): Subscription {
    return this.events();
  }

  /** The events after `afterSeq`: the last `seq` one has is all it takes to come back. */
  events(afterSeq = 0): Subscription {
    const begun = this.#begun;
    this.#begun = null;
    if (begun !== null && afterSeq === 0) return begun;
    void begun?.return();
    return this.#session.events(this.taskId, afterSeq);
  }

  /** The task as it is now. @throws GatewayError */
  async get(): Promise<Task> {
    return (await this.#session.request("get_task", { task_id: this.taskId })).task;
  }

  /** The task once it has ended, however it did. @throws GatewayError */
  async ended(): Promise<Task> {
    const now = await this.get();
    if (TERMINAL.has(now.status)) return now;
    for await (const _ of this.#session.events(this.taskId, now.last_seq));
    return this.get();
  }

  /** What the task came to. @throws TaskFailedError where it did not complete, GatewayError */
  async result(): Promise<{ [key: string]: unknown }> {
    const task = await this.ended();
    if (task.status !== "completed") throw new TaskFailedError(task);
    return task.result ?? {};
  }

  /** Asks for its end; resolves once the wish is durable. Its effect is a `status` event. @throws GatewayError */
  cancel(reason?: string): Promise<Task> {
    return this.#wish("cancel_task", reason);
  }

  /** Asks it to stand still; see `cancel`. @throws GatewayError */
  pause(reason?: string): Promise<Task> {
    return this.#wish("pause_task", reason);
  }

  /** Asks it to go on; see `cancel`. @throws GatewayError */
  resume(reason?: string): Promise<Task> {
    return this.#wish("resume_task", reason);
  }

  /**
   * Sends a running task something, to the agent `sandbox` text for its standard input, which `eof` ends.
   *
   * Resolves once it is durable. Its key, made where none is given, makes a repeat a no-op. @throws GatewayError
   */
  async sendInput(data: unknown, options: { eof?: boolean; key?: string } = {}): Promise<void> {
    const key = options.key ?? crypto.randomUUID();
    await this.#session.request("send_input", { task_id: this.taskId, data, eof: false, ...options, key });
  }

  /** Answers the question with that `key` (event `input_requested`, or `waiting_for`). @throws GatewayError */
  answer(key: string, data: unknown): Promise<void> {
    return this.sendInput(data, { key });
  }

  /** Tells the size of the terminal, for a command that has one. @throws GatewayError */
  async resize(cols: number, rows: number): Promise<void> {
    await this.#session.request("resize", { task_id: this.taskId, cols, rows });
  }

  /** Has an ended task forgotten: log, input and files go. @throws GatewayError */
  async delete(): Promise<void> {
    await this.#session.request("delete_task", { task_id: this.taskId });
  }

  /**
   * A token that shows this task and steers nothing, for the fragment of a link: `#/tasks/ID&token=…`.
   *
   * It may end sooner than is asked, and says when. @throws GatewayError `invalid_state` where the gateway signs none
   */
  share(options: { expires_in_s?: number } = {}): Promise<Shared> {
    return this.#session.http.post<Shared>(`${this.#path}/share`, options);
  }

  /** Some of its log, from behind an event on: a page at a time, where nobody follows it. @throws GatewayError */
  page(afterSeq = 0, limit = 10_000): Promise<EventPage> {
    return this.#session.http.json<EventPage>(`${this.#path}/events?after_seq=${afterSeq}&limit=${limit}`);
  }

  /** The files that the task gave back. @throws GatewayError */
  async files(): Promise<TaskFile[]> {
    return (await this.#session.http.json<{ files: TaskFile[] }>(`${this.#path}/files`)).files;
  }

  /** One of its files, not read yet: `.text()`, `.arrayBuffer()`, `.body`. @throws GatewayError */
  download(path: string): Promise<Response> {
    const address = path.split("/").map(encodeURIComponent).join("/");
    return this.#session.http.fetch(`${this.#path}/files/${address}`);
  }

  /** All of its files as a tar, not read yet. @throws GatewayError */
  downloadAll(): Promise<Response> {
    return this.#session.http.fetch(`${this.#path}/files.tar`);
  }

  get #path(): string {
    return `/v1/tasks/${encodeURIComponent(this.taskId)}`;
  }

  async #wish(type: Wish, reason?: string): Promise<Task> {
    const params = { task_id: this.taskId, ...(reason === undefined ? {} : { reason }) };
    return (await this.#session.request(type, params)).task;
  }
}
