import type { KnownTask } from "./store.ts";

/** What a task goes by: what it was called, else whose it is. */
export function nameOf(task: Pick<KnownTask, "labels" | "agent">): string {
  return task.labels.name || task.agent;
}
