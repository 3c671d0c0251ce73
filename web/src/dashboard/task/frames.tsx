import { useState } from "preact/hooks";

import { CopyButton } from "../copyable.tsx";
import { type Seen, traffic } from "../traffic.ts";

/** The newest frames of this task on this page's socket, as they were. */
export function FramesTab({ taskId }: { taskId: string }) {
  void traffic.version.value;
  const frames = traffic.of(taskId);
  const came = frames.filter(({ way }) => way === "in").length;
  return (
    <section class="frames" aria-label="Frames">
      <div class="frames-head">
        <p class="hint">
          The newest frames of this task on this page's socket, newest first: {came} came,{" "}
          {frames.length - came} went.
        </p>
        <CopyButton text={() => frames.map(({ text }) => text).join("\n")} label="Copy" />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
      <ol tabIndex={0} aria-label="Frames, newest first">
        {frames.map((frame) => (
          <li key={frame.id} class={`frame-${frame.way}`}>
            <Frame frame={frame} />
          </li>
        ))}
      </ol>
    </section>
  );
}

/** A line, and on demand all of it. */
function Frame({ frame }: { frame: Seen }) {
  const { at, way, chars, text } = frame;
  const [isOpen, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span class="frame-way">{way === "in" ? "◂ in" : "out ▸"}</span>
        <strong>{kindOf(text)}</strong>
        <code class="clip">{text}</code>
        <span class="hint">{chars.toLocaleString("en")} chars</span>
        <span class="hint">{timeOf(at)}</span>
      </summary>
      {isOpen && <pre dir="auto">{shaped(frame)}</pre>}
    </details>
  );
}

/** "event 7 output", "result", "subscribe". */
function kindOf(text: string): string {
  const type = /"type":"([a-z_]+)"/.exec(text)?.[1] ?? "";
  if (type !== "event") return type;
  const [, seq = "", event = ""] = /"seq":(\d+),"event":"([a-z_]+)"/.exec(text) ?? [];
  return `${event} ${seq}`;
}

function timeOf(ms: number): string {
  const at = new Date(ms);
  return `${at.toLocaleTimeString("en-GB")}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

function shaped({ text, chars }: Seen): string {
  return text.length < chars ? `${text}…` : JSON.stringify(JSON.parse(text), null, 2);
}
