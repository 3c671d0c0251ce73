import { useEffect, useState } from "preact/hooks";

import type { GatewayError, TaskFault, TaskStatus } from "../client/index.ts";
import { TERMINAL } from "../client/index.ts";
import { CopyButton } from "./copyable.tsx";
import { Follower } from "./follow.ts";
import { OutputPane } from "./output-pane.tsx";
import { connection, type KnownTask, now, taskById, welcome } from "./store.ts";
import { explain } from "./submit.ts";
import type { Moment, TaskModel } from "./task-model.ts";
import { duration, errorHeadline, preciseDuration, reasonWords, STATUS_WORDS } from "./words.ts";

export function TaskView({ taskId }: { taskId: string }) {
  const [follower, setFollower] = useState<Follower | null>(null);
  const [round, setRound] = useState(0);
  const isLive = connection.value.phase === "live";

  useEffect(() => {
    const started = new Follower(taskId);
    setFollower(started);
    return () => started.close();
  }, [taskId, round]);
  useEffect(() => {
    // The session was closed under it, and is there again, perhaps with a new token.
    if (isLive && follower?.failure.value?.code === "connection_closed") setRound(round + 1);
  }, [isLive, follower, round]);

  if (follower === null || follower.taskId !== taskId) return null;
  return <Followed key={taskId} follower={follower} />;
}

function Followed({ follower }: { follower: Follower }) {
  void follower.version.value;
  const { model, taskId } = follower;
  const task = taskById(taskId);
  const failure = follower.failure.value;
  const status = model.status ?? task?.status ?? null;
  const isOver = status !== null && TERMINAL.has(status);
  const name = task?.labels.name || model.firstCommand || "Task";
  useEffect(() => {
    document.title = status === null ? `${name} – Gateway` : `${STATUS_WORDS[status]}: ${name} – Gateway`;
    return () => {
      document.title = "Gateway";
    };
  }, [name, status]);
  if (failure !== null && failure.code !== "connection_closed")
    return <NotThere failure={failure} taskId={taskId} />;
  return (
    <article class="task" aria-labelledby="task-title">
      <div class="page-head">
        <a class="back" href="#/">
          ‹ Tasks
        </a>
        <div class="task-head">
          <h1 id="task-title">{name}</h1>
          <span class="spacer" />
          {status !== null && !isOver && <CancelButton follower={follower} task={task} />}
        </div>
        <Facts model={model} task={task} status={status} />
      </div>
      {model.error !== null && <Failure error={model.error} exitCode={model.exitCode} />}
      {status === "running" && <Progress model={model} />}
      <Timeline moments={model.moments} isOver={isOver} />
      {model.siteUrl !== null && (
        <p class="notice">
          A site is up:{" "}
          <a href={model.siteUrl} target="_blank" rel="noopener noreferrer">
            {model.siteUrl}
          </a>
        </p>
      )}
      <OutputPane follower={follower} isOver={isOver} />
    </article>
  );
}

function Facts({
  model,
  task,
  status,
}: {
  model: TaskModel;
  task: KnownTask | undefined;
  status: TaskStatus | null;
}) {
  return (
    <p class="facts">
      <span role="status">
        {status !== null && <span class={`badge status-${status}`}>{STATUS_WORDS[status]}</span>}
      </span>
      {model.exitCode !== null && (
        <span class={model.exitCode === 0 ? "exit good" : "exit bad"} data-testid="exit-code">
          exit code {model.exitCode}
        </span>
      )}
      {task !== undefined && task.attempt > 1 && <span class="muted">attempt {task.attempt}</span>}
      {task !== undefined && task.agent !== "sandbox" && <span class="muted">agent {task.agent}</span>}
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

function Elapsed({ task }: { task: KnownTask | undefined }) {
  if (task === undefined || task.started_at === null) return null;
  const started = Date.parse(task.started_at);
  if (task.ended_at !== null)
    return <span class="muted">{preciseDuration(Date.parse(task.ended_at) - started)}</span>;
  return <span class="muted">{duration(now.value - started)}</span>;
}

/** A wish and its effect are two things: the button tells of the one, the status of the other. */
function CancelButton({ follower, task }: { follower: Follower; task: KnownTask | undefined }) {
  const [error, setError] = useState<string | null>(null);
  const [isAsking, setAsking] = useState(false);
  const isWished = task?.desire === "cancel";
  const cancel = async () => {
    setAsking(true);
    setError(null);
    try {
      await follower.cancel();
    } catch (failure) {
      setError(explain(failure));
    } finally {
      setAsking(false);
    }
  };
  return (
    <span class="cancel">
      {error !== null && (
        <span role="alert" class="error-text">
          {error}
        </span>
      )}
      {isWished && <span class="hint">Asked to stop; still {task.status}.</span>}
      <button type="button" class="danger" disabled={isAsking || isWished} onClick={() => void cancel()}>
        {isWished || isAsking ? "Cancelling…" : "Cancel"}
      </button>
    </span>
  );
}

function Failure({ error, exitCode }: { error: TaskFault; exitCode: number | null }) {
  const reason = error.details?.reason;
  const isTold = exitCode === null && typeof reason === "string";
  return (
    <div class="failure">
      <strong>
        {errorHeadline(error)}
        {exitCode !== null && ` with exit code ${exitCode}`}
        {isTold && ` (${reasonWords(reason)})`}
      </strong>
      <p>{error.message}</p>
    </div>
  );
}

function Progress({ model }: { model: TaskModel }) {
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

function Timeline({ moments, isOver }: { moments: Moment[]; isOver: boolean }) {
  return (
    <ol class="timeline" aria-label="Timeline">
      {moments.map((moment, index) => (
        <li key={moment.seq} class={`status-${moment.status}`}>
          <span class="moment-word">{STATUS_WORDS[moment.status]}</span>
          <span class="moment-detail">
            <time dateTime={moment.time}>{new Date(moment.time).toLocaleTimeString()}</time>
            <Lasted from={moment} to={moments[index + 1]} isOver={isOver} />
            <Why moment={moment} />
          </span>
        </li>
      ))}
    </ol>
  );
}

function Lasted({ from, to, isOver }: { from: Moment; to: Moment | undefined; isOver: boolean }) {
  const start = Date.parse(from.time);
  if (to !== undefined) return <> · {preciseDuration(Date.parse(to.time) - start)}</>;
  return isOver ? null : <> · {duration(now.value - start)}</>;
}

function Why({ moment }: { moment: Moment }) {
  const parts = [
    moment.attempt > 1 && moment.status === "running" ? `attempt ${moment.attempt}` : null,
    moment.reason === null ? null : reasonWords(moment.reason),
    moment.by === null ? null : moment.by === welcome.value?.subject ? "by you" : `by ${moment.by}`,
  ].filter((part) => part !== null);
  return parts.length === 0 ? null : <> · {parts.join(", ")}</>;
}

function NotThere({ failure, taskId }: { failure: GatewayError; taskId: string }) {
  const isUnknown = failure.code === "task_not_found";
  return (
    <section class="page-head">
      <a class="back" href="#/">
        ‹ Tasks
      </a>
      <h1>{isUnknown ? "There is no such task" : "This task can't be followed"}</h1>
      <p class="muted">
        {isUnknown ? "It may have been deleted, or belong to someone else." : failure.message}{" "}
        <code>{taskId}</code>
      </p>
    </section>
  );
}
