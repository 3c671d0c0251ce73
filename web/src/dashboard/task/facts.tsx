import type { TaskFault, TaskStatus } from "../../client/index.ts";
import { CopyButton } from "../copyable.tsx";
import { ASKS, StatusBadge } from "../status.tsx";
import { type KnownTask, now } from "../store.ts";
import type { TaskModel } from "../task-model.ts";
import { TaskTrust } from "../trust.tsx";
import { duration, errorHeadline, preciseDuration, reasonWords, STATUS_WORDS } from "../words.ts";

interface Props {
  model: TaskModel;
  task: KnownTask | undefined;
  status: TaskStatus | null;
}

export function Facts({ model, task, status }: Props) {
  return (
    <p class="facts">
      <span role="status" data-testid="status">
        {status !== null && <StatusBadge status={status} word={statusWord(model, status)} />}
      </span>
      {model.exitCode !== null && (
        <span class={model.exitCode === 0 ? "exit good" : "exit bad"} data-testid="exit-code">
          exit code {model.exitCode}
        </span>
      )}
      {task !== undefined && task.attempt > 1 && <span class="muted">attempt {task.attempt}</span>}
      {task !== undefined && <span class="muted">{task.agent}</span>}
      <TaskTrust model={model} task={task} />
      <Elapsed task={task} />
      {task !== undefined && (
        <span class="task-id">
          <code>{task.task_id}</code>
          <CopyButton text={() => task.task_id} label="Copy id" />
        </span>
      )}
    </p>
  );
}

/** The status, or that somebody is waited for. */
export function statusWord(model: TaskModel, status: TaskStatus): string {
  return status === "running" && model.question !== null ? ASKS : STATUS_WORDS[status];
}

function Elapsed({ task }: { task: KnownTask | undefined }) {
  if (task === undefined || task.started_at === null) return null;
  const started = Date.parse(task.started_at);
  if (task.ended_at !== null) {
    return <span class="muted">{preciseDuration(Date.parse(task.ended_at) - started)}</span>;
  }
  return <span class="muted">{duration(now.value - started)}</span>;
}

export function Failure({ error, exitCode }: { error: TaskFault; exitCode: number | null }) {
  const reason = error.details?.reason;
  const isTold = exitCode === null && typeof reason === "string";
  const headline = [
    errorHeadline(error),
    exitCode === null ? "" : ` with exit code ${exitCode}`,
    isTold ? ` (${reasonWords(reason)})` : "",
  ].join("");
  return (
    <div class="failure">
      <strong>{headline}</strong>
      {!sayTheSame(headline, error.message) && <p>{error.message}</p>}
    </div>
  );
}

/** But for how they begin. */
function sayTheSame(headline: string, message: string | null): boolean {
  const plain = (text: string) => text.toLowerCase().replace(/^(a|the) /, "");
  return message === null || plain(headline) === plain(message);
}

export function Progress({ model }: { model: TaskModel }) {
  if (model.progress === null && model.phase === null) return null;
  return (
    <div class="progress">
      {model.progress !== null && <progress max={100} value={model.progress} aria-label="Progress" />}
      <span class="muted">
        {model.phase}
        {model.progress !== null && ` ${Math.round(model.progress)} %`}
      </span>
    </div>
  );
}
