/** Which overlay is open. */

import { signal } from "@preact/signals";

export type Overlay = "palette" | "help" | "share";

export const overlay = signal<Overlay | null>(null);

export function openPalette(): void {
  overlay.value = "palette";
}

export function openHelp(): void {
  overlay.value = "help";
}

export function openShare(): void {
  overlay.value = "share";
}

/** Nothing, where another is open by now: a dialog tells late that it was closed. */
export function closeOverlay(which: Overlay): void {
  if (overlay.value === which) overlay.value = null;
}
