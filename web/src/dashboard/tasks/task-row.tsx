import { setQuery, taskHref } from "../route.ts";
import { StatusBadge, wordOf } from "../status.tsx";
import { type KnownTask, now } from "../store.ts";
import { percent } from "../task-model.ts";
import { nameOf } from "../task-name.ts";
import { age, duration, preciseDuration } from "../words.ts";

export function TaskRow({ task }: { task: KnownTask }) {
  const done = percent(task.progress);
  const isRunning = task.status === "running";
  return (
    <div class={hasLabels(task) ? "row row-labelled" : "row"}>
      <a class="row-link" href={taskHref(task.task_id)} data-step>
        <StatusBadge status={task.status} word={wordOf(task)} />
        <span class="row-name clip">{nameOf(task)}</span>
        <span class="row-agent clip">{task.agent}</span>
        <span class="row-progress">
          {isRunning && done !== null && <progress max={100} value={done} aria-label="Progress" />}
        </span>
        <span class="row-time">
          <Lasted task={task} />
        </span>
        <span class="row-age">{age(now.value - Date.parse(task.created_at))}</span>
      </a>
      <Labels task={task} />
    </div>
  );
}

const MAX_LABELS = 3;

/** What it goes by is its name, and not told again. */
function labelsOf({ labels }: KnownTask): [string, string][] {
  return Object.entries(labels).filter(([key]) => key !== "name");
}

function hasLabels(task: KnownTask): boolean {
  return labelsOf(task).length > 0;
}

function Labels({ task }: { task: KnownTask }) {
  const labels = labelsOf(task);
  if (labels.length === 0) return null;
  return (
    <span class="labels">
      {labels.slice(0, MAX_LABELS).map(([key, value]) => (
        <button
          key={key}
          type="button"
          class="label clip"
          title={`Only ${key}=${value}`}
          onClick={() => setQuery({ label: `${key}=${value}` })}
        >
          {key}={value}
        </button>
      ))}
    </span>
  );
}

function Lasted({ task }: { task: KnownTask }) {
  if (task.started_at === null) return <>–</>;
  const started = Date.parse(task.started_at);
  if (task.ended_at !== null) return <>{preciseDuration(Date.parse(task.ended_at) - started)}</>;
  return <>{duration(now.value - started)}</>;
}
