import { useEffect, useRef } from "preact/hooks";

interface Props {
  label: string;
  tabs: { id: string; word: string; count?: number }[];
  current: string;
  onChange: (id: string) => void;
}

/** A row of views, which scrolls where it is wider than the page; one of which is shown; left and right go between them, as in any tab list. */
export function Tabs({ label, tabs, current, onChange }: Props) {
  const row = useRef<HTMLDivElement>(null);
  // They come and grow as the task does.
  const shape = tabs.map(({ id, count }) => `${id} ${count}`).join();
  useEffect(() => {
    const tab = row.current?.querySelector(`[data-tab="${current}"]`);
    if (row.current !== null && tab != null) bringIntoSight(row.current, tab);
  }, [current, shape]);
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const at = tabs.findIndex(({ id }) => id === current);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    if (next === undefined) return;
    event.preventDefault();
    onChange(next.id);
    (event.currentTarget as HTMLElement).querySelector<HTMLElement>(`[data-tab="${next.id}"]`)?.focus();
  };
  return (
    <div ref={row} class="tabs" role="tablist" aria-label={label} onKeyDown={onKeyDown}>
      {tabs.map(({ id, word, count = 0 }) => (
        <button
          key={id}
          type="button"
          role="tab"
          data-tab={id}
          aria-selected={id === current}
          tabIndex={id === current ? 0 : -1}
          onClick={() => onChange(id)}
        >
          {word}
          {count > 0 && <span class="count">{count}</span>}
        </button>
      ))}
    </div>
  );
}

/** Sideways alone: whoever reads further down is not taken away from there. */
function bringIntoSight(row: HTMLElement, tab: Element): void {
  const [box, at] = [row.getBoundingClientRect(), tab.getBoundingClientRect()];
  row.scrollLeft += Math.min(0, at.left - box.left) + Math.max(0, at.right - box.right);
}
