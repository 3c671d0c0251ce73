interface Props {
  label: string;
  text: string;
  class?: string;
}

/** Text that is shown as it is, and scrolls by itself: a region that the keyboard reaches. */
export function ScrollText({ label, text, class: name = "code" }: Props) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section class={`scroll-text ${name}`} aria-label={label} tabIndex={0}>
      <pre dir="auto">{text}</pre>
    </section>
  );
}
