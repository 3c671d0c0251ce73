import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { CopyButton } from "./copyable.tsx";
import type { Follower } from "./follow.ts";
import type { Line, OutputLog } from "./output-log.ts";

/** Within this many pixels of the end counts as at the end. */
const END_PX = 24;

/** A task's output as it comes. Lines are written into the DOM as text, once each, never through the framework. */
export function OutputPane({ follower, isOver }: { follower: Follower; isOver: boolean }) {
  const pane = useRef<HTMLDivElement>(null);
  const [isFollowing, setFollowing] = useState(true);
  const version = follower.version.value;
  const { log } = follower;

  useLayoutEffect(() => {
    const element = pane.current;
    if (element === null) return;
    drawLines(element, log);
    if (isFollowing) element.scrollTop = element.scrollHeight;
  }, [version, log, isFollowing]);

  const scrolled = () => {
    const element = pane.current;
    if (element !== null) {
      setFollowing(element.scrollHeight - element.scrollTop - element.clientHeight < END_PX);
    }
  };
  return (
    <section class="output" aria-label="Output">
      <div class="output-bar">
        <h2>Output</h2>
        {log.dropped > 0 && (
          <span class="hint">
            The newest {log.lines.length.toLocaleString("en")} lines; {log.dropped.toLocaleString("en")} older
            ones are not shown.
          </span>
        )}
        <span class="spacer" />
        {!isFollowing && (
          <button type="button" class="quiet" onClick={() => setFollowing(true)}>
            ↓ Follow
          </button>
        )}
        {log.lines.length > 0 && <CopyButton text={() => log.text()} label="Copy" />}
      </div>
      {/* A log that is read out line by line would drown its listener; the task's status is what is told. */}
      <div
        ref={pane}
        class="lines"
        role="log"
        aria-live="off"
        aria-label="Lines of output"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
        tabIndex={0}
        onScroll={scrolled}
      />
      {log.lines.length === 0 && (
        <p class="no-output">
          {isOver ? "It wrote nothing." : "Nothing yet. Lines appear as they are written."}
        </p>
      )}
    </section>
  );
}

/** Brings the pane up to date: lines that left go, lines that changed are written anew, new ones are added. */
function drawLines(pane: HTMLElement, log: OutputLog): void {
  const firstId = log.lines[0]?.id ?? 0;
  while (pane.firstElementChild !== null && idOf(pane.firstElementChild) < firstId)
    pane.firstElementChild.remove();
  const shown = pane.childElementCount;
  for (const id of log.changed) {
    const index = id - firstId;
    const element = index < shown ? pane.children[index] : undefined;
    const line = log.lines[index];
    if (element !== undefined && line !== undefined) writeLine(element as HTMLElement, line);
  }
  log.changed.clear();
  const added = document.createDocumentFragment();
  for (const line of log.lines.slice(shown)) {
    const element = document.createElement("div");
    writeLine(element, line);
    added.append(element);
  }
  pane.append(added);
}

function idOf(element: Element): number {
  return Number((element as HTMLElement).dataset.id);
}

function writeLine(element: HTMLElement, line: Line): void {
  element.dataset.id = String(line.id);
  element.className = `line line-${line.kind}`;
  const hidden = line.hiddenChars.toLocaleString("en");
  element.textContent = line.hiddenChars === 0 ? line.text : `${line.text} … ${hidden} more characters`;
}
