/** Telling a session to end, and waiting beside that. */

export type StopReason = "timeout" | "idle" | "cancelled";

export class Stop {
  /** Why it is to end; null while it is not. */
  reason: StopReason | null = null;
  #tell: () => void = () => {};
  /** Resolves once there is a reason. */
  readonly told = new Promise<"stopped">((resolve) => {
    this.#tell = () => resolve("stopped");
  });

  /** The first reason counts. */
  now(reason: StopReason): void {
    this.reason ??= reason;
    this.#tell();
  }
}

export interface Timer {
  promise: Promise<"late">;
  clear(): void;
}

/** Resolves as "late" after `ms`; with null never. */
export function after(ms: number | null): Timer {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const promise = new Promise<"late">((resolve) => {
    if (ms !== null) timer = setTimeout(() => resolve("late"), ms);
  });
  return { promise, clear: () => clearTimeout(timer) };
}
