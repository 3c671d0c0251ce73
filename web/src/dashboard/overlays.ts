/** Which overlay is open. */

import { signal } from "@preact/signals";

export const overlay = signal<"palette" | "help" | "share" | null>(null);

export function openPalette(): void {
  overlay.value = "palette";
}

export function openHelp(): void {
  overlay.value = "help";
}

export function openShare(): void {
  overlay.value = "share";
}

export function closeOverlay(): void {
  overlay.value = null;
}
