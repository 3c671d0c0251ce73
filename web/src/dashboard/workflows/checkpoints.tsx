import { useEffect, useState } from "preact/hooks";

import type { Checkpoint } from "../../client/index.ts";
import { canSteer } from "../identity.ts";
import { go, route, taskHref } from "../route.ts";
import { connection, mergeTask, session } from "../store.ts";
import { explain } from "../submit.ts";
import { Json } from "../task/details.tsx";
import { type Branch, branchesOf } from "./branches.ts";

const PAGE = 200;

interface Props {
  workflowId: string;
  /** Changes where there may be a checkpoint more. */
  version: number | string;
}

/** A workflow's checkpoints as a tree: each run a branch, from the checkpoint that it went on from. */
export function Checkpoints({ workflowId, version }: Props) {
  const [checkpoints, setCheckpoints] = useState<Checkpoint[] | null>(null);
  const [error, setError] = useState<string | null>(null);
  const isLive = connection.value.phase === "live";
  useEffect(() => {
    if (!isLive) return;
    void version;
    session.checkpoints(workflowId, { limit: PAGE }).then(
      (page) => setCheckpoints(page.checkpoints),
      (failure) => setError(explain(failure)),
    );
  }, [workflowId, version, isLive]);
  const recover = async (checkpoint: Checkpoint, fork: boolean) => {
    try {
      const { task } = await session.recover(workflowId, { checkpoint_id: checkpoint.checkpoint_id, fork });
      if (task.submitted !== null) mergeTask(task.submitted);
      go(taskHref(task.taskId));
    } catch (failure) {
      setError(explain(failure));
    }
  };
  if (checkpoints === null) return error === null ? <p class="muted">Loading…</p> : <Alert text={error} />;
  if (checkpoints.length === 0) {
    return (
      <p class="empty">No checkpoints. An agent makes them; a task goes on from the newest after a crash.</p>
    );
  }
  return (
    <section aria-label="Checkpoints">
      {error !== null && <Alert text={error} />}
      <ul class="tree">
        {branchesOf(checkpoints).map((branch) => (
          <BranchOf key={branch.taskId} branch={branch} recover={recover} />
        ))}
      </ul>
    </section>
  );
}

function Alert({ text }: { text: string }) {
  return (
    <p role="alert" class="error-text">
      {text}
    </p>
  );
}

type Recover = (checkpoint: Checkpoint, fork: boolean) => Promise<void>;

function BranchOf({ branch, recover }: { branch: Branch; recover: Recover }) {
  const isHere = route.value.id === branch.taskId;
  return (
    <li>
      <p class="branch-head">
        {isHere ? (
          <strong>This task</strong>
        ) : (
          <a href={taskHref(branch.taskId)}>Task …{branch.taskId.slice(-8)}</a>
        )}
        {branch.from !== null && <span class="hint"> from a checkpoint</span>}
      </p>
      <ol>
        {branch.checkpoints.map((checkpoint) => (
          <Node key={checkpoint.checkpoint_id} checkpoint={checkpoint} branch={branch} recover={recover} />
        ))}
      </ol>
    </li>
  );
}

interface NodeProps {
  checkpoint: Checkpoint;
  branch: Branch;
  recover: Recover;
}

function Node({ checkpoint, branch, recover }: NodeProps) {
  const [isBusy, setBusy] = useState(false);
  const go = async (fork: boolean) => {
    setBusy(true);
    await recover(checkpoint, fork);
    setBusy(false);
  };
  const children = branch.children.get(checkpoint.checkpoint_id) ?? [];
  return (
    <li class="node">
      <div class="node-line">
        <span class="node-name">{checkpoint.step_name}</span>
        <span class="hint">
          after event {checkpoint.seq} · {new Date(checkpoint.created_at).toLocaleTimeString("en-GB")}
        </span>
        {checkpoint.is_recoverable && canSteer.value && (
          <span class="node-actions">
            <button
              type="button"
              class="small"
              disabled={isBusy}
              title="The workflow goes on from here, as a new task"
              aria-label={`Recover from ${checkpoint.step_name}`}
              onClick={() => void go(false)}
            >
              Recover
            </button>
            <button
              type="button"
              class="small"
              disabled={isBusy}
              title="A copy of the workflow goes on from here; this one stays as it is"
              aria-label={`Fork from ${checkpoint.step_name}`}
              onClick={() => void go(true)}
            >
              Fork
            </button>
          </span>
        )}
      </div>
      {checkpoint.checkpoint_data !== null && <Json title="State" value={checkpoint.checkpoint_data} />}
      {children.length > 0 && (
        <ul class="tree">
          {children.map((child) => (
            <BranchOf key={child.taskId} branch={child} recover={recover} />
          ))}
        </ul>
      )}
    </li>
  );
}
