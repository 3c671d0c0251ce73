import { Command } from "./copyable.tsx";
import { route, taskHref } from "./route.ts";
import { cursor, type KnownTask, listError, loadTasks, now, tasks } from "./store.ts";
import { percent } from "./task-model.ts";
import { age, duration, STATUS_WORDS } from "./words.ts";

export function TaskList() {
  return (
    <nav class="task-list" aria-label="Tasks">
      <div class="list-head">
        <h2>Tasks</h2>
        <a class="button primary" href="#/new">
          New task
        </a>
      </div>
      {listError.value !== null && (
        <p role="alert" class="error-text">
          The list can't be read: {listError.value}
        </p>
      )}
      <Rows />
    </nav>
  );
}

function Rows() {
  const shown = tasks.value;
  if (shown.length === 0) return cursor.value === undefined ? <Loading /> : <Empty />;
  const older = cursor.value;
  return (
    <>
      <ul class="rows" onKeyDown={moveFocus}>
        {shown.map((task) => (
          <Row key={task.task_id} task={task} />
        ))}
      </ul>
      {typeof older === "string" && (
        <button type="button" class="quiet wide" onClick={() => void loadTasks(older)}>
          Show older tasks
        </button>
      )}
    </>
  );
}

function Row({ task }: { task: KnownTask }) {
  const here = route.value;
  const isCurrent = here.page === "task" && here.taskId === task.task_id;
  return (
    <li>
      <a class="row" href={taskHref(task.task_id)} aria-current={isCurrent ? "page" : undefined}>
        <StatusDot task={task} />
        <span class="row-name">{task.labels.name || task.agent}</span>
        <span class="row-age">
          <Age task={task} />
        </span>
        <span class="row-detail">
          {summary(task)} <span class="row-id">…{task.task_id.slice(-8)}</span>
        </span>
        {task.status === "running" && percent(task.progress) !== null && (
          <progress max={100} value={percent(task.progress) ?? 0} aria-label="Progress" />
        )}
      </a>
    </li>
  );
}

export function StatusDot({ task }: { task: Pick<KnownTask, "status"> }) {
  return <span class={`status-dot status-${task.status}`} aria-hidden="true" />;
}

function summary(task: KnownTask): string {
  if (task.desire === "cancel" && task.status !== "cancelled" && task.ended_at === null) return "Cancelling";
  const word = STATUS_WORDS[task.status];
  return task.attempt > 1 ? `${word} · attempt ${task.attempt}` : word;
}

/** How long ago it came; while it runs, how long it has. */
function Age({ task }: { task: KnownTask }) {
  if (task.status === "running" && task.started_at !== null) {
    return <>{duration(now.value - Date.parse(task.started_at))}</>;
  }
  return <>{age(now.value - Date.parse(task.created_at))}</>;
}

function Loading() {
  return <p class="muted list-note">Loading…</p>;
}

function Empty() {
  return (
    <div class="list-note">
      <p>No tasks yet.</p>
      <p class="muted">
        <a href="#/new">Run the example</a>, or start from a terminal:
      </p>
      <Command line={`gateway submit . --command "ls -l" --url ${location.origin}`} />
    </div>
  );
}

/** Arrow keys walk the list, as in any list. */
function moveFocus(event: KeyboardEvent): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  const links = [...(event.currentTarget as HTMLElement).querySelectorAll<HTMLAnchorElement>("a.row")];
  const next = links[links.indexOf(document.activeElement as HTMLAnchorElement) + step];
  if (next === undefined) return;
  event.preventDefault();
  next.focus();
}
