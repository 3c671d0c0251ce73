import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

import { closeOverlay, type Overlay } from "./overlays.ts";

interface Props {
  which: Overlay;
  label: string;
  children: ComponentChildren;
}

/** The browser's own dialog: it holds the focus, closes by Escape, and gives the focus back. */
export function Modal({ which, label, children }: Props) {
  const close = () => closeOverlay(which);
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
      onCancel={close}
      onClose={close}
      onClick={(event) => {
        if (event.target === dialog.current) close();
      }}
    >
      {children}
    </dialog>
  );
}
