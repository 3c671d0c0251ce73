import type { ErrorFrame, Task } from "./wire.ts";

type Details = { [key: string]: unknown };

/**
 * Why a request or a stream ended without its answer.
 *
 * `code` is one of the contract's, or of the client's own: `connection_closed` (closed for good; `details.close_code`
 * is one of `CLOSE`), `connection_lost` (dropped; being made anew), `deadline_exceeded` (no answer in time),
 * `too_many_requests`.
 */
export class GatewayError extends Error {
  override readonly name: string = "GatewayError";
  readonly code: string;
  /** Whether the same may succeed later. */
  readonly retryable: boolean;
  readonly details: Details;

  constructor(code: string, message: string, retryable = false, details: Details = {}) {
    super(message);
    this.code = code;
    this.retryable = retryable;
    this.details = details;
  }

  static fromFrame(frame: ErrorFrame): GatewayError {
    return new GatewayError(frame.code, frame.message, frame.retryable, frame.details);
  }
}

/** A task ended, and not as `completed`: `code` is its error's, or `cancelled`. */
export class TaskFailedError extends GatewayError {
  override readonly name: string = "TaskFailedError";
  readonly task: Task;

  constructor(task: Task) {
    const { code, message, details } = task.error ?? { code: "cancelled", message: null };
    super(
      code,
      message ?? `The task ${task.status === "cancelled" ? "was cancelled" : task.status}.`,
      false,
      details,
    );
    this.task = task;
  }
}

/** How the gateway closes a connection (RFC 6455's codes, and its own). */
export const CLOSE = {
  gone: 1001,
  binary: 1003,
  notUtf8: 1007,
  tooBig: 1009,
  restart: 1012,
  overloaded: 1013,
  broken: 4400,
  token: 4401,
  notAllowed: 4403,
  silent: 4408,
} as const;
