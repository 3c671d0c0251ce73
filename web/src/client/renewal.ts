/** Presents a new token before the one of the connection expires. */

import type { Clock } from "./clock.ts";
import type { GetToken } from "./http.ts";
import type { Renewed, Welcome } from "./wire.ts";

/** So long before the end at most; of a short life, half. */
const MARGIN_MS = 60_000;
/** What `setTimeout` can wait for. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;
const MIN_WAIT_MS = 1_000;

export class Renewal {
  readonly #clock: Clock;
  readonly #token: GetToken;
  readonly #present: (token: string) => Promise<Renewed>;
  /** What the server's clock is ahead of ours. */
  #aheadMs = 0;
  #expiresAt: string | null = null;
  #cancelTimer: (() => void) | null = null;
  #round = 0;

  constructor(clock: Clock, token: GetToken, present: (token: string) => Promise<Renewed>) {
    this.#clock = clock;
    this.#token = token;
    this.#present = present;
  }

  welcomed({ time, expires_at }: Welcome): void {
    this.#aheadMs = Date.parse(time) - this.#clock.now();
    this.#expiresAt = null;
    this.#schedule(expires_at);
  }

  stop(): void {
    this.#round += 1;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }

  /** Nothing is won by presenting the same token again: then the connection ends with it. */
  #schedule(expiresAt: string | null): void {
    this.stop();
    if (expiresAt === null || expiresAt === this.#expiresAt) return;
    this.#expiresAt = expiresAt;
    const left = Date.parse(expiresAt) - this.#clock.now() - this.#aheadMs;
    const wait = Math.max(left - MARGIN_MS, left / 2, MIN_WAIT_MS);
    this.#cancelTimer = this.#clock.after(Math.min(wait, LONGEST_WAIT_MS), () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const round = this.#round;
    try {
      const token = await this.#token();
      if (token === null || round !== this.#round) return;
      const { expires_at } = await this.#present(token);
      if (round === this.#round) this.#schedule(expires_at);
    } catch {
      // The gateway says 4401 when the old token is over, and then a new one is asked for.
    }
  }
}
