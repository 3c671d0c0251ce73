import { CopyButton } from "../copyable.tsx";
import { traffic } from "../traffic.ts";

/** The newest frames of this task on this page's socket, as they were. */
export function FramesTab({ taskId }: { taskId: string }) {
  void traffic.version.value;
  const frames = traffic.of(taskId);
  return (
    <section class="frames" aria-label="Frames">
      <div class="frames-head">
        <p class="hint">
          The newest {frames.length} frames of this task on this page's socket, newest first.
        </p>
        <CopyButton text={() => frames.map(({ text }) => text).join("\n")} label="Copy" />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
      <ol tabIndex={0} aria-label="Frames, newest first">
        {frames.map(({ id, at, way, chars, text }) => (
          <li key={id} class={`frame-${way}`}>
            <span class="frame-way">{way === "in" ? "◂ in" : "out ▸"}</span>
            <span class="hint">
              {new Date(at).toLocaleTimeString("en-GB")} · {chars.toLocaleString("en")} chars
            </span>
            <code>{text.length < chars ? `${text}…` : text}</code>
          </li>
        ))}
      </ol>
    </section>
  );
}
