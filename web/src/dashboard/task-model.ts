/** What a task's events add up to, for the page that shows it. */

import {
  type EventData,
  type SandboxResult,
  type TaskEvent,
  type TaskFault,
  type TaskStatus,
  TERMINAL,
} from "../client/index.ts";

export interface Moment {
  seq: number;
  time: string;
  status: TaskStatus;
  attempt: number;
  reason: string | null;
  by: string | null;
}

export interface Mark {
  seq: number;
  time: string;
  name: string;
  checkpointId: string;
}

export type Question = EventData["input_requested"];

/** One stretch of a task's life. `sandbox` is from a claim to the first sign of its work, `asks` until an answer. */
export interface Stretch {
  kind: "queue" | "sandbox" | "run" | "asks" | "paused";
  attempt: number;
  from: number;
  /** Null while it lasts. */
  to: number | null;
}

/** A task may be attempted a thousand times; the page shows the newest moments. */
const MAX_MOMENTS = 200;

export class TaskModel {
  moments: Moment[] = [];
  checkpoints: Mark[] = [];
  /** When the first sign of work came, by attempt. */
  readonly #workAt = new Map<number, number>();
  /** When it waited for an answer; the last may still last. */
  #waits: { from: number; to: number | null }[] = [];
  firstCommand: string | null = null;
  phase: string | null = null;
  progress: number | null = null;
  error: TaskFault | null = null;
  result: { [key: string]: unknown } | null = null;
  siteUrl: string | null = null;
  /** Whether the gateway shows it; else some browser does, and no other can. */
  isSiteOurs = true;
  question: Question | null = null;
  lastSeq = 0;

  get status(): TaskStatus | null {
    return this.moments.at(-1)?.status ?? null;
  }

  /** What there is of a result, also where it failed. */
  get made(): { [key: string]: unknown } | null {
    return this.result ?? ((this.error?.details?.result ?? null) as { [key: string]: unknown } | null);
  }

  /** Whether what it came to, or shows, was made on a viewer's machine. */
  get isClients(): boolean {
    return this.made?.trust === "client" || !this.isSiteOurs;
  }

  /** The task's exit code where it has ended and its agent tells one. */
  get exitCode(): number | null {
    const code = (this.error?.details ?? this.result)?.exit_code;
    return typeof code === "number" ? code : null;
  }

  push(event: TaskEvent): void {
    this.lastSeq = event.seq;
    if (event.event === "status") this.#status(event.seq, event.time, event.data);
    else this.#worked(event.time);
    if (event.event === "progress") this.#progress(event.data);
    else if (event.event === "command") this.firstCommand ??= event.data.command;
    else if (event.event === "server_ready") this.#served(event.data);
    else if (event.event === "checkpoint") this.#checkpoint(event.seq, event.time, event.data);
    else if (event.event === "input_requested") this.#asks(event.time, event.data);
    else if (event.event === "input_given" && this.question?.key === event.data.key) this.#goesOn(event.time);
  }

  /** Its life so far, one stretch after another. */
  stretches(): Stretch[] {
    const found: Stretch[] = [];
    this.moments.forEach((moment, index) => {
      if (TERMINAL.has(moment.status)) return;
      const from = Date.parse(moment.time);
      const next = this.moments[index + 1];
      const to = next === undefined ? null : Date.parse(next.time);
      found.push(...this.#split(moment, from, to));
    });
    return found;
  }

  #split({ status, attempt }: Moment, from: number, to: number | null): Stretch[] {
    if (status === "pending") return [{ kind: "queue", attempt, from, to }];
    if (status === "paused") return [{ kind: "paused", attempt, from, to }];
    const work = this.#workAt.get(attempt);
    const isFirst = work === undefined || work >= from;
    if (!isFirst) return this.#withWaits({ kind: "run", attempt, from, to });
    const boot: Stretch = { kind: "sandbox", attempt, from, to: work ?? to };
    return work === undefined ? [boot] : [boot, ...this.#withWaits({ kind: "run", attempt, from: work, to })];
  }

  /** A stretch of work, parted by when it waited: its clock stood still then. */
  #withWaits(run: Stretch): Stretch[] {
    const found: Stretch[] = [];
    const end = run.to ?? Number.POSITIVE_INFINITY;
    let from = run.from;
    for (const wait of this.#waits) {
      const until = Math.min(wait.to ?? Number.POSITIVE_INFINITY, end);
      if (until <= from || wait.from >= end) continue;
      if (wait.from > from) found.push({ ...run, from, to: wait.from });
      found.push({ ...run, kind: "asks", from: Math.max(from, wait.from), to: finite(until) });
      from = until;
    }
    return from < end ? [...found, { ...run, from }] : found;
  }

  #asks(time: string, question: Question): void {
    if (this.question === null) {
      this.#waits = [...this.#waits, { from: Date.parse(time), to: null }].slice(-MAX_MOMENTS);
    }
    this.question = question;
  }

  #goesOn(time: string): void {
    this.question = null;
    const wait = this.#waits.at(-1);
    if (wait !== undefined) wait.to ??= Date.parse(time);
  }

  #worked(time: string): void {
    const attempt = this.moments.at(-1)?.attempt ?? 0;
    if (attempt > 0 && !this.#workAt.has(attempt)) this.#workAt.set(attempt, Date.parse(time));
  }

  #status(seq: number, time: string, data: EventData["status"]): void {
    const { status, attempt, reason = null, by = null } = data;
    this.moments = [...this.moments, { seq, time, status, attempt, reason, by }].slice(-MAX_MOMENTS);
    this.error = data.error ?? null;
    this.result = data.result ?? null;
    if (status !== "running" && status !== "paused") this.#goesOn(time);
    if (this.result !== null) this.siteUrl ??= safeUrl((this.result as unknown as SandboxResult).url);
  }

  #served({ url, scope }: EventData["server_ready"]): void {
    this.siteUrl = safeUrl(url);
    this.isSiteOurs = scope === "gateway";
  }

  #progress({ phase, progress }: EventData["progress"]): void {
    if (typeof phase === "string") this.phase = phase;
    if (typeof progress === "number") this.progress = progress;
  }

  #checkpoint(seq: number, time: string, data: EventData["checkpoint"]): void {
    const mark = { seq, time, name: data.step_name, checkpointId: data.checkpoint_id };
    this.checkpoints = [...this.checkpoints, mark].slice(-MAX_MOMENTS);
  }
}

function finite(time: number): number | null {
  return Number.isFinite(time) ? time : null;
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
