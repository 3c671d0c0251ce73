/** What the tab is doing, for people to see. */

import { signal } from "@preact/signals";

/**
 * - `unsupported`: this page can't run anything as it was opened
 * - `unpaired`: nobody said whose sandbox it is to be; `pairing`: it is being asked
 * - `expired`: what it was paired with is good no more; it takes a new link
 * - `consent`: it waits for its person to agree
 * - `standby`: another tab of this browser is the sandbox
 * - `booting`, `failed`: the runtime starts, or did not
 * - `offline`: the runtime is there, the gateway is not; what runs goes on for a while
 * - `waiting`, `running`: connected
 * - `stopped`: for good, by its person or by the gateway
 */
export type TabState =
  | { phase: "unsupported" | "failed" | "expired" | "stopped"; why: string }
  | { phase: "unpaired" | "pairing" | "consent" | "standby" | "booting" | "waiting" }
  | { phase: "offline"; why: string }
  | { phase: "running"; task: number };

export const state = signal<TabState>({ phase: "pairing" });
/** Whose sandbox the tab is, once that is known. */
export const owner = signal<string | null>(null);
/** Tasks that have ended here since the page was opened. */
export const done = signal(0);
