import { signal } from "@preact/signals";

import { GatewayError, type Subscription, type Task } from "../client/index.ts";
import { OutputLog } from "./output-log.ts";
import { mergeTask, session } from "./store.ts";
import { TaskModel } from "./task-model.ts";

/** A frame that took no longer was cheap. */
const FRAME_MS = 20;
const MAX_REST_MS = 500;

/** Follows one task for as long as the page shows it. */
export class Follower {
  readonly taskId: string;
  readonly log = new OutputLog();
  readonly model = new TaskModel();
  /** Counts the drawings that are due: one per frame, however many events came. */
  readonly version = signal(0);
  readonly failure = signal<GatewayError | null>(null);
  readonly #events: Subscription;
  #isDrawDue = false;
  #isClosed = false;
  /** Until then (by `performance.now`) the browser is left to take in events. */
  #restUntil = 0;

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

  /** Asks for the task's end. @throws GatewayError */
  async cancel(): Promise<Task> {
    const task = await session.task(this.taskId).cancel();
    mergeTask(task);
    return task;
  }

  async #read(): Promise<void> {
    try {
      for await (const event of this.#events) {
        this.log.push(event);
        this.model.push(event);
        this.#draw();
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
      mergeTask(await session.task(this.taskId).get());
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
    }
  }

  #draw(): void {
    if (this.#isDrawDue) return;
    this.#isDrawDue = true;
    const restMs = this.#restUntil - performance.now();
    if (restMs > 0) setTimeout(() => this.#drawNextFrame(), restMs);
    else this.#drawNextFrame();
  }

  #drawNextFrame(): void {
    requestAnimationFrame((started) => {
      this.#isDrawDue = false;
      if (this.#isClosed) return;
      this.version.value += 1;
      // What a frame cost shows when the next turn comes. A flood is drawn a quarter of the time, and read the rest.
      setTimeout(() => {
        const cost = performance.now() - started;
        this.#restUntil = performance.now() + Math.min(MAX_REST_MS, 3 * Math.max(0, cost - FRAME_MS));
      });
    });
  }
}
