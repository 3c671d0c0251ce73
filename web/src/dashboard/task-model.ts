/** What a task's events add up to, for the page that shows it. */

import type { EventData, SandboxResult, TaskEvent, TaskFault, TaskStatus } from "../client/index.ts";

export interface Moment {
  seq: number;
  time: string;
  status: TaskStatus;
  attempt: number;
  reason: string | null;
  by: string | null;
}

/** A task may be attempted a thousand times; the page shows the newest moments. */
const MAX_MOMENTS = 40;

export class TaskModel {
  moments: Moment[] = [];
  firstCommand: string | null = null;
  phase: string | null = null;
  progress: number | null = null;
  error: TaskFault | null = null;
  result: { [key: string]: unknown } | null = null;
  siteUrl: string | null = null;

  get status(): TaskStatus | null {
    return this.moments.at(-1)?.status ?? null;
  }

  /** The task's exit code where it has ended and its agent tells one. */
  get exitCode(): number | null {
    const source = this.error?.details ?? this.result;
    const code = source?.exit_code;
    return typeof code === "number" ? code : null;
  }

  push(event: TaskEvent): void {
    if (event.event === "status") this.#status(event.seq, event.time, event.data);
    else if (event.event === "progress") this.#progress(event.data);
    else if (event.event === "command") this.firstCommand ??= event.data.command;
    else if (event.event === "server_ready") this.siteUrl = safeUrl(event.data.url);
  }

  #status(seq: number, time: string, data: EventData["status"]): void {
    const { status, attempt, reason = null, by = null } = data;
    this.moments = [...this.moments, { seq, time, status, attempt, reason, by }].slice(-MAX_MOMENTS);
    this.error = data.error ?? null;
    this.result = data.result ?? null;
    if (this.result !== null) this.siteUrl ??= safeUrl((this.result as unknown as SandboxResult).url);
  }

  #progress({ phase, progress }: EventData["progress"]): void {
    if (typeof phase === "string") this.phase = phase;
    if (typeof progress === "number") this.progress = progress;
  }
}

/** How far a task said last that it is, 0 to 100, or null. */
export function percent(progress: { [key: string]: unknown } | null): number | null {
  return typeof progress?.progress === "number" ? progress.progress : null;
}

/** A task may name any address; only one that opens as a web site becomes a link. */
export function safeUrl(url: unknown): string | null {
  if (typeof url !== "string") return null;
  return /^https?:\/\//i.test(url) ? url : null;
}
