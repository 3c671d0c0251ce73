import type { TaskStatus } from "../client/index.ts";
import type { KnownTask } from "./store.ts";
import { STATUS_WORDS } from "./words.ts";

export const ASKS = "Asks you";

/** A status in colour, shape and word, so that none of the three is needed alone. */
export function StatusBadge({ status, word }: { status: TaskStatus; word?: string }) {
  return (
    <span class={`badge status-${status}`}>
      <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
        <path d={SHAPES[status]} />
      </svg>
      {word ?? STATUS_WORDS[status]}
    </span>
  );
}

const SHAPES: Record<TaskStatus, string> = {
  pending: "M6 1.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9zM6 3.500V6l1.800 1.200",
  running: "M6 1.500a4.500 4.500 0 1 1-4.500 4.500",
  paused: "M4.200 2.500v7M7.800 2.500v7",
  completed: "M2 6.500L4.800 9.200 10 3",
  failed: "M2.800 2.800l6.400 6.400M9.200 2.800L2.800 9.200",
  cancelled: "M2.500 6h7",
};

/** The status, and what is wished where that is not true yet. */
export function wordOf(task: Pick<KnownTask, "status" | "desire" | "ended_at" | "waiting_for">): string {
  if (task.ended_at !== null) return STATUS_WORDS[task.status];
  if (task.desire === "cancel") return "Cancelling";
  if (task.desire === "pause" && task.status === "running") return "Pausing";
  if (task.desire === "run" && task.status === "paused") return "Resuming";
  if (task.waiting_for !== null && task.status === "running") return ASKS;
  return STATUS_WORDS[task.status];
}
