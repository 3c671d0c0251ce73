import { useEffect, useState } from "preact/hooks";

import type { GatewayError } from "../client/index.ts";
import { type TaskStatus, TERMINAL } from "../client/index.ts";
import { Follower } from "./follow.ts";
import { Icon } from "./icons.tsx";
import { canSteer, guestUntil } from "./identity.ts";
import { route, setQuery } from "./route.ts";
import { connection, type KnownTask, taskById } from "./store.ts";
import { Tabs } from "./tabs.tsx";
import { Actions } from "./task/actions.tsx";
import { Details } from "./task/details.tsx";
import { Facts, Failure, Progress, statusWord } from "./task/facts.tsx";
import { FramesTab } from "./task/frames.tsx";
import { Preview } from "./task/preview.tsx";
import { QuestionOf } from "./task/question.tsx";
import { ResultFiles, resultFiles } from "./task/result-files.tsx";
import { StdinBar } from "./task/stdin-bar.tsx";
import { Timeline } from "./task/timeline.tsx";
import { TerminalPane } from "./terminal/terminal-pane.tsx";
import { Checkpoints } from "./workflows/checkpoints.tsx";

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
  const name = task?.labels.name || model.firstCommand || textOf(task) || task?.agent || "Task";
  const word = status === null ? null : statusWord(model, status);
  useEffect(() => {
    document.title = word === null ? `${name} – Gateway` : `${word}: ${name} – Gateway`;
    return () => {
      document.title = "Gateway";
    };
  }, [name, word]);
  if (failure !== null && failure.code !== "connection_closed") {
    return <NotThere failure={failure} taskId={taskId} />;
  }
  return (
    <article class="task" aria-labelledby="task-title">
      <BackLink />
      <div class="task-head">
        <h1 id="task-title">{name}</h1>
        <Actions follower={follower} task={task} status={status} isOver={isOver} />
      </div>
      <Facts model={model} task={task} status={status} />
      {model.error !== null && <Failure error={model.error} exitCode={model.exitCode} />}
      {status === "running" && <Progress model={model} />}
      <Timeline model={model} endedAt={task?.ended_at ?? null} />
      {model.question !== null && !isOver && (
        <QuestionOf key={model.question.key} question={model.question} follower={follower} />
      )}
      <Views follower={follower} task={task} status={status} isOver={isOver} />
    </article>
  );
}

/** What an agent was asked to do. */
function textOf(task: KnownTask | undefined): string {
  const text = task?.input?.task;
  return typeof text === "string" ? text : "";
}

interface ViewProps {
  follower: Follower;
  task: KnownTask | undefined;
  status: TaskStatus | null;
  isOver: boolean;
}

/** One view at a time, named in the address; the output stays as it is while another is looked at. */
function Views({ follower, task, status, isOver }: ViewProps) {
  const { model } = follower;
  const takesInput = task?.input?.stdin === true && !isOver && canSteer.value;
  const tabs = [
    { id: "output", word: "Output" },
    ...(model.siteUrl === null ? [] : [{ id: "site", word: "Site" }]),
    { id: "files", word: "Files", count: resultFiles(model.made).length },
    ...(guestUntil.value === null
      ? [{ id: "checkpoints", word: "Checkpoints", count: model.checkpoints.length }]
      : []),
    { id: "details", word: "Details" },
    { id: "frames", word: "Frames" },
  ];
  const wanted = route.value.query.get("view");
  const current = tabs.find(({ id }) => id === wanted)?.id ?? "output";
  return (
    <div class="views">
      <Tabs label="Views of the task" tabs={tabs} current={current} onChange={(view) => setQuery({ view })} />
      <div class="view view-output" role="tabpanel" aria-label="Output" hidden={current !== "output"}>
        <TerminalPane follower={follower} status={status} />
        {takesInput && <StdinBar follower={follower} />}
      </div>
      {current !== "output" && (
        <div class="view" role="tabpanel" aria-label={tabs.find(({ id }) => id === current)?.word ?? ""}>
          <View name={current} follower={follower} task={task} />
        </div>
      )}
    </div>
  );
}

function View({ name, follower, task }: { name: string; follower: Follower; task: KnownTask | undefined }) {
  const { model, taskId } = follower;
  if (name === "site" && model.siteUrl !== null)
    return <Preview url={model.siteUrl} isOurs={model.isSiteOurs} />;
  if (name === "files") return <ResultFiles taskId={taskId} files={resultFiles(model.made)} />;
  if (name === "frames") return <FramesTab taskId={taskId} />;
  if (task === undefined) return <p class="muted">Loading…</p>;
  if (name === "checkpoints") {
    return <Checkpoints workflowId={task.workflow_id} version={model.checkpoints.length} />;
  }
  return <Details task={task} follower={follower} />;
}

function BackLink() {
  return (
    <a class="back" href="#/">
      <Icon name="back" /> Tasks
    </a>
  );
}

function NotThere({ failure, taskId }: { failure: GatewayError; taskId: string }) {
  const isUnknown = failure.code === "task_not_found";
  return (
    <section class="not-there">
      <BackLink />
      <h1>{isUnknown ? "There is no such task" : "This task can't be followed"}</h1>
      <p class="muted">
        {isUnknown ? "It may have been deleted, or belong to someone else." : failure.message}
      </p>
      <p>
        <code>{taskId}</code>
      </p>
    </section>
  );
}
