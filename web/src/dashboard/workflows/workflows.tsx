import { useEffect, useState } from "preact/hooks";

import type { Workflow } from "../../client/index.ts";
import { workflowHref } from "../route.ts";
import { connection, now, session, tasks } from "../store.ts";
import { explain } from "../submit.ts";
import { nameOf } from "../task-name.ts";
import { useThrottled } from "../throttled.ts";
import { age } from "../words.ts";

const PAGE = 100;

/** Workflows, newest first; read anew when one of the tasks that are watched moves. */
export function Workflows() {
  const [workflows, setWorkflows] = useState<Workflow[] | null>(null);
  const [cursor, setCursor] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const isLive = connection.value.phase === "live";
  const version = useThrottled(tasks.value.map((task) => task.status).join());
  useEffect(() => {
    if (!isLive) return;
    void version;
    session.workflows({ limit: PAGE }).then(
      (page) => {
        setWorkflows(page.workflows);
        setCursor(page.cursor);
        setError(null);
      },
      (failure) => setError(explain(failure)),
    );
  }, [isLive, version]);
  const older = async (after: string) => {
    const page = await session.workflows({ limit: PAGE, cursor: after });
    setWorkflows([...(workflows ?? []), ...page.workflows]);
    setCursor(page.cursor);
  };
  return (
    <section class="page" aria-labelledby="workflows-title">
      <h1 id="workflows-title">Workflows</h1>
      <p class="muted">
        What survives its tasks: each has a state, a history, and checkpoints to go back to.
      </p>
      {error !== null && (
        <p role="alert" class="failure">
          {error}
        </p>
      )}
      {workflows?.length === 0 && <p class="empty">No workflows yet. Every task begins one.</p>}
      <ul class="cards">
        {workflows?.map((workflow) => (
          <li key={workflow.workflow_id}>
            <a class="card workflow-card" href={workflowHref(workflow.workflow_id)} data-step>
              <span class={`badge workflow-${workflow.status}`}>{workflow.status}</span>
              <span class="workflow-name clip">{nameOfFirst(workflow)}</span>
              <span class="clip">{words(workflow.current_step)}</span>
              <span class="hint">
                {workflow.step_history.length > 1 && `${workflow.step_history.length} steps · `}
                {workflow.forked_from !== null && "a fork · "}version {workflow.version} ·{" "}
                {age(now.value - Date.parse(workflow.updated_at))}
              </span>
              <code class="hint clip">{workflow.workflow_id}</code>
            </a>
          </li>
        ))}
      </ul>
      {cursor !== null && (
        <button type="button" onClick={() => void older(cursor)}>
          Show older workflows
        </button>
      )}
    </section>
  );
}

/** A workflow has no name of its own: it goes by that of a task of it, where one is known. */
function nameOfFirst({ workflow_id }: Workflow): string {
  const own = tasks.value.filter((task) => task.workflow_id === workflow_id).at(-1);
  return own === undefined ? "Workflow" : nameOf(own);
}

export function words(step: string): string {
  return step.replaceAll("_", " ");
}
