import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { pageKeys } from "./keys.ts";

interface Props<T> {
  items: readonly T[];
  rowHeight: number;
  label: string;
  keyOf: (item: T) => string;
  /** One row, as a link; it marks itself by `data-step`. */
  row: (item: T) => ComponentChildren;
  /** The last rows have come into sight. */
  onEnd: () => void;
}

/** Beyond what is in sight, so that a quick wheel finds rows. */
const SPARE_ROWS = 8;

/** A long list of which only what is in sight is in the document; `j` and `k` go through all of it. */
export function VirtualRows<T>({ items, rowHeight, label, keyOf, row, onEnd }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 800 });
  const look = () => {
    const element = box.current;
    if (element !== null) setView({ top: element.scrollTop, height: element.clientHeight });
  };
  useLayoutEffect(look, []);
  useEffect(() => {
    const observer = new ResizeObserver(look);
    if (box.current !== null) observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useSteps({ items, rowHeight, keyOf, box, look });
  const first = Math.max(0, Math.floor(view.top / rowHeight) - SPARE_ROWS);
  const count = Math.ceil(view.height / rowHeight) + 2 * SPARE_ROWS;
  const shown = items.slice(first, first + count);
  const isAtEnd = first + count >= items.length;
  useEffect(() => {
    if (isAtEnd) onEnd();
  }, [isAtEnd, items.length, onEnd]);

  return (
    <div class="rows" ref={box} onScroll={look}>
      <ul aria-label={label} style={{ height: `${items.length * rowHeight}px` }}>
        {shown.map((item, index) => (
          <li
            key={keyOf(item)}
            aria-setsize={items.length}
            aria-posinset={first + index + 1}
            style={{ height: `${rowHeight}px`, transform: `translateY(${(first + index) * rowHeight}px)` }}
          >
            {row(item)}
          </li>
        ))}
      </ul>
    </div>
  );
}

interface Stepped<T> extends Pick<Props<T>, "items" | "rowHeight" | "keyOf"> {
  box: { current: HTMLDivElement | null };
  /** Has what is in sight drawn. */
  look: () => void;
}

/** `j` and `k` mark one row after another, drawn or not: what is not is scrolled to, and has the focus once it is there. */
function useSteps<T>({ items, rowHeight, keyOf, box, look }: Stepped<T>): void {
  const marked = useRef<string | null>(null);
  const isDue = useRef(false);
  const focusMarked = () => {
    const index = items.findIndex((item) => keyOf(item) === marked.current);
    const link = box.current?.querySelector<HTMLElement>(`[aria-posinset="${index + 1}"] [data-step]`);
    isDue.current = link == null && index >= 0;
    link?.focus();
    return index;
  };
  const step = (by: number) => {
    const element = box.current;
    if (element === null) return;
    const focused = document.activeElement?.closest("[aria-posinset]")?.getAttribute("aria-posinset");
    const known = items.findIndex((item) => keyOf(item) === marked.current);
    const at = !isDue.current && focused != null ? Number(focused) - 1 : known;
    const next = at < 0 ? Math.ceil(element.scrollTop / rowHeight) : at + by;
    const item = items[Math.min(items.length - 1, Math.max(0, next))];
    if (item === undefined) return;
    marked.current = keyOf(item);
    const index = focusMarked();
    if (!isDue.current) return;
    element.scrollTop = index * rowHeight - element.clientHeight / 2;
    look();
  };
  useLayoutEffect(() => {
    if (isDue.current) focusMarked();
  });
  useEffect(() => {
    pageKeys.set("j", () => step(1)).set("k", () => step(-1));
    return () => {
      pageKeys.delete("j");
      pageKeys.delete("k");
    };
  });
}
