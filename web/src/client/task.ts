import type { Subscription } from "./subscription.ts";
import type { Params, RequestType, Result, Task, TaskEvent } from "./wire.ts";

/** What a task needs of the session that it belongs to. */
export interface TaskSession {
  request<T extends RequestType>(type: T, params: Params<T>): Promise<Result<T>>;
  events(taskId: string, afterSeq?: number): Subscription;
}

/** One task of the gateway. `for await (const event of task)` gives its events from the first to the last. */
export class TaskHandle implements AsyncIterable<TaskEvent> {
  readonly taskId: string;
  /** The task as its submit was answered; null for one that was only named. */
  readonly submitted: Task | null;
  readonly #session: TaskSession;

  constructor(session: TaskSession, taskId: string, submitted: Task | null) {
    this.#session = session;
    this.taskId = taskId;
    this.submitted = submitted;
  }

  [Symbol.asyncIterator](): Subscription {
    return this.events();
  }

  /** The events after `afterSeq`: the last `seq` one has is all it takes to come back. */
  events(afterSeq = 0): Subscription {
    return this.#session.events(this.taskId, afterSeq);
  }

  /** The task as it is now. @throws GatewayError */
  async get(): Promise<Task> {
    return (await this.#session.request("get_task", { task_id: this.taskId })).task;
  }

  /** Asks for its end; resolves once the wish is durable. Its effect is a `status` event. @throws GatewayError */
  async cancel(reason?: string): Promise<Task> {
    const params = { task_id: this.taskId, ...(reason === undefined ? {} : { reason }) };
    return (await this.#session.request("cancel_task", params)).task;
  }
}
