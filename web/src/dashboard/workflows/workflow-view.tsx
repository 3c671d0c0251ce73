import { useEffect, useState } from "preact/hooks";

import type { ListedTask, Workflow } from "../../client/index.ts";
import { Icon } from "../icons.tsx";
import { taskHref, workflowHref } from "../route.ts";
import { StatusBadge } from "../status.tsx";
import { connection, now, session, tasks } from "../store.ts";
import { explain } from "../submit.ts";
import { Json } from "../task/details.tsx";
import { nameOf } from "../task-name.ts";
import { useThrottled } from "../throttled.ts";
import { age } from "../words.ts";
import { Checkpoints } from "./checkpoints.tsx";
import { words } from "./workflows.tsx";

export function WorkflowView({ workflowId }: { workflowId: string }) {
  const [workflow, setWorkflow] = useState<Workflow | null>(null);
  const [listed, setListed] = useState<ListedTask[]>([]);
  const [error, setError] = useState<string | null>(null);
  const isLive = connection.value.phase === "live";
  const own = tasks.value.filter((task) => task.workflow_id === workflowId);
  const version = useThrottled(own.map((task) => task.status + (task.progress?.phase ?? "")).join());
  // It has no name of its own.
  const first = listed.at(-1);
  useEffect(() => {
    if (!isLive) return;
    void version;
    const asked = [
      session.request("get_workflow", { workflow_id: workflowId }),
      session.list({ workflow_id: workflowId }),
    ] as const;
    Promise.all(asked).then(
      ([found, page]) => {
        setWorkflow(found.workflow);
        setListed(page.tasks);
        setError(null);
      },
      (failure) => setError(explain(failure)),
    );
  }, [workflowId, isLive, version]);
  return (
    <section class="page" aria-labelledby="workflow-title">
      <a class="back" href="#/workflows">
        <Icon name="back" /> Workflows
      </a>
      <h1 id="workflow-title">{first === undefined ? "Workflow" : nameOf(first)}</h1>
      {error !== null && (
        <p role="alert" class="failure">
          {error}
        </p>
      )}
      {workflow !== null && <Head workflow={workflow} />}
      <section class="card" aria-labelledby="own-tasks">
        <h2 id="own-tasks">Tasks</h2>
        <ul class="task-links">
          {listed.map((task) => (
            <li key={task.task_id}>
              <a href={taskHref(task.task_id)} data-step>
                <StatusBadge status={task.status} /> <span class="clip">{nameOf(task)}</span>
                <span class="hint">{age(now.value - Date.parse(task.created_at))}</span>
              </a>
            </li>
          ))}
        </ul>
      </section>
      <div class="card">
        <h2>Checkpoints</h2>
        <Checkpoints workflowId={workflowId} version={version} />
      </div>
    </section>
  );
}

function Head({ workflow }: { workflow: Workflow }) {
  return (
    <>
      <p class="facts">
        <span class={`badge workflow-${workflow.status}`}>{workflow.status}</span>
        <span class="muted">version {workflow.version}</span>
        {workflow.forked_from !== null && (
          <a href={workflowHref(workflow.forked_from)}>forked from …{workflow.forked_from.slice(-8)}</a>
        )}
        <code class="hint clip">{workflow.workflow_id}</code>
      </p>
      <ol class="steps" aria-label="Steps">
        {workflow.step_history.map((step, index) => (
          <li key={index}>{words(step)}</li>
        ))}
        <li aria-current="step">{words(workflow.current_step)}</li>
      </ol>
      {workflow.state_data !== null && Object.keys(workflow.state_data).length > 0 && (
        <Json title="State" value={workflow.state_data} />
      )}
    </>
  );
}
