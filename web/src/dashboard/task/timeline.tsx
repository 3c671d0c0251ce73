import { now, welcome } from "../store.ts";
import type { Mark, Moment, Stretch, TaskModel } from "../task-model.ts";
import { preciseDuration, reasonWords, STATUS_WORDS } from "../words.ts";

const WORDS: Record<Stretch["kind"], string> = {
  queue: "Queue",
  sandbox: "Sandbox",
  run: "Run",
  asks: "Waiting for you",
  paused: "Paused",
};
/** So that the shortest stretch can still be seen. */
const MIN_SHARE = 0.02;

interface Props {
  model: TaskModel;
  /** When the task ended, which is known before its log has come to that. */
  endedAt: string | null;
}

/** Where the time went: one bar, one part a stretch, checkpoints where they were made. */
export function Timeline({ model, endedAt }: Props) {
  const stretches = model.stretches();
  const [first] = stretches;
  if (first === undefined) return null;
  const last = model.moments.at(-1);
  const isOver = stretches.at(-1)?.to !== null;
  const over = isOver && last !== undefined ? last.time : endedAt;
  const end = over === null ? now.value : Date.parse(over);
  const total = Math.max(1, end - first.from);
  return (
    <section class="timeline" aria-label="Timeline">
      <div class="track" aria-hidden="true">
        {stretches.map((stretch) => (
          <span
            key={`${stretch.kind}${stretch.from}`}
            class={`stretch stretch-${stretch.kind}${stretch.to === null ? " stretch-open" : ""}`}
            style={{ flexGrow: String(Math.max(MIN_SHARE, lasted(stretch, end) / total)) }}
          />
        ))}
        {model.checkpoints.map((mark) => (
          <span
            key={mark.seq}
            class="mark"
            style={{ left: `${placeOf(mark, first.from, total)}%` }}
            title={mark.name}
          />
        ))}
      </div>
      <ol class="legend">
        {stretches.map((stretch) => (
          <li key={`${stretch.kind}${stretch.from}`} class={`stretch-${stretch.kind}`}>
            <span class="legend-word">{WORDS[stretch.kind]}</span>{" "}
            <span class="legend-time">{preciseDuration(lasted(stretch, end))}</span>
          </li>
        ))}
        {model.checkpoints.length > 0 && (
          <li class="legend-marks">
            <span class="legend-word">{model.checkpoints.length}</span>{" "}
            <span class="legend-time">{model.checkpoints.length === 1 ? "checkpoint" : "checkpoints"}</span>
          </li>
        )}
        {last !== undefined && isOver && (
          <li class={`legend-end status-${last.status}`}>
            <span class="legend-word">{STATUS_WORDS[last.status]}</span>
            <Why moment={last} />
          </li>
        )}
      </ol>
    </section>
  );
}

function lasted({ from, to }: Stretch, end: number): number {
  return Math.max(0, (to ?? end) - from);
}

function placeOf(mark: Mark, start: number, total: number): number {
  return Math.min(100, Math.max(0, ((Date.parse(mark.time) - start) / total) * 100));
}

export function Why({ moment }: { moment: Moment }) {
  const parts = [
    moment.reason === null ? null : reasonWords(moment.reason),
    moment.by === null ? null : moment.by === welcome.value?.subject ? "by you" : `by ${moment.by}`,
  ].filter((part) => part !== null);
  return parts.length === 0 ? null : <span class="legend-time"> {parts.join(", ")}</span>;
}
