/** Codes, times and sizes in words. */

import type { TaskFault, TaskStatus } from "../client/index.ts";

const TASK_ERRORS: { [code: string]: string } = {
  command_failed: "A command failed",
  timeout: "It ran out of time",
  sandbox_lost: "Its sandbox was lost",
  instance_lost: "The gateway that ran it was lost",
  agent_error: "Its agent failed",
  memory_limit: "It ran out of memory",
  resource_limit: "It reached a resource limit",
  no_sandbox: "No sandbox that fits was there",
  bad_input: "Its input could not be used",
};

const REASONS: { [reason: string]: string } = {
  instance_lost: "gateway lost",
  sandbox_lost: "sandbox lost",
  drain: "gateway drained",
};

export const STATUS_WORDS: Record<TaskStatus, string> = {
  pending: "Waiting",
  running: "Running",
  paused: "Paused",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
};

export function errorHeadline(error: TaskFault): string {
  return TASK_ERRORS[error.code] ?? error.code;
}

export function reasonWords(reason: string): string {
  return REASONS[reason] ?? reason.replaceAll("_", " ");
}

/** "4 s", "3 min 20 s", "2 h 5 min", "3 d": enough to tell, short enough for a row. */
export function duration(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d`;
}

/** As `duration`, with tenths below ten seconds. */
export function preciseDuration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms);
}

/** Coarse, for lists: one unit. */
export function age(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 5) return "now";
  if (s < 60) return `${s} s ago`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

export function size(bytes: number): string {
  if (bytes < 1_024) return `${bytes} B`;
  if (bytes < 1_048_576) return `${(bytes / 1_024).toFixed(1)} KiB`;
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}
