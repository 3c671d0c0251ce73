import type { KnownTask } from "./store.ts";

/** What a task goes by: what it was called, else what it was asked to do, else whose it is. */
export function nameOf(task: Pick<KnownTask, "labels" | "agent" | "title">): string {
  return task.labels.name || task.title || task.agent;
}
