import type { ErrorFrame } from "./wire.ts";

/**
 * Why a request or a stream ended without its answer.
 *
 * `code` is one of the contract's, or of the client's own: `connection_closed` (closed for good),
 * `connection_lost` (dropped; being made anew), `deadline_exceeded` (no answer in time), `too_many_requests`.
 */
export class GatewayError extends Error {
  override readonly name = "GatewayError";
  readonly code: string;
  readonly retryable: boolean;
  readonly details: { [key: string]: unknown };

  constructor(code: string, message: string, retryable = false, details: { [key: string]: unknown } = {}) {
    super(message);
    this.code = code;
    this.retryable = retryable;
    this.details = details;
  }

  static fromFrame(frame: ErrorFrame): GatewayError {
    return new GatewayError(frame.code, frame.message, frame.retryable, frame.details);
  }
}
