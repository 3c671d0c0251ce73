import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

import { closeOverlay } from "./overlays.ts";

/** The browser's own dialog: it holds the focus, closes by Escape, and gives the focus back. */
export function Modal({ label, children }: { label: string; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  // Before the next key: what is typed on is for the field.
  useLayoutEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes it by itself
    <dialog
      ref={dialog}
      aria-label={label}
      onClose={closeOverlay}
      onClick={(event) => {
        if (event.target === dialog.current) closeOverlay();
      }}
    >
      {children}
    </dialog>
  );
}
