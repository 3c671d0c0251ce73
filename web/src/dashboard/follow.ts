import { signal } from "@preact/signals";

import { GatewayError, type Subscription, type Task } from "../client/index.ts";
import { EventRate } from "./charts/event-rate.ts";
import { Output } from "./output.ts";
import { mergeTask, session } from "./store.ts";
import { TaskModel } from "./task-model.ts";

/** Follows one task for as long as the page shows it. */
export class Follower {
  readonly taskId: string;
  readonly output = new Output();
  readonly model = new TaskModel();
  readonly rate = new EventRate();
  /** Counts the drawings that are due: one per frame, however many events came. */
  readonly version = signal(0);
  readonly failure = signal<GatewayError | null>(null);
  readonly #events: Subscription;
  #isDrawDue = false;
  #isClosed = false;

  constructor(taskId: string) {
    this.taskId = taskId;
    this.#events = session.events(taskId);
    // Ends with the subscription: at the task's last event, at a failure, or by `close`.
    void this.#read();
    void this.#load();
  }

  close(): void {
    void this.#events.return();
    this.#isClosed = true;
  }

  /** Asks for what the task is to do. @throws GatewayError */
  async wish(what: "cancel" | "pause" | "resume"): Promise<void> {
    mergeTask(await session.task(this.taskId)[what]());
  }

  /** @throws GatewayError */
  async send(data: unknown, options: { eof?: boolean; key?: string } = {}): Promise<void> {
    await session.task(this.taskId).sendInput(data, options);
  }

  async #read(): Promise<void> {
    try {
      for await (const event of this.#events) {
        this.model.push(event);
        this.rate.push(event.time);
        this.#draw();
        await this.output.push(event);
      }
      await this.#load();
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      this.failure.value = error;
    }
  }

  /** The task itself, for what events do not tell; a failure here is the subscription's too, and told there. */
  async #load(): Promise<void> {
    try {
      mergeTask(await this.#whole());
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
    }
  }

  /** With its input, unless that is larger than a frame. */
  async #whole(): Promise<Task> {
    const task_id = this.taskId;
    try {
      return (await session.request("get_task", { task_id, include_input: true })).task;
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== "too_large") throw error;
      return session.task(task_id).get();
    }
  }

  #draw(): void {
    if (this.#isDrawDue) return;
    this.#isDrawDue = true;
    requestAnimationFrame(() => {
      this.#isDrawDue = false;
      if (!this.#isClosed) this.version.value += 1;
    });
  }
}
