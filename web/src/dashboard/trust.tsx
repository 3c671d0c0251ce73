import type { KnownTask } from "./store.ts";
import type { TaskModel } from "./task-model.ts";
import { sandboxId, useWatched } from "./watched.ts";

/** On what is nobody's word but a viewer's. */
export function TrustMark({ subject = null }: { subject?: string | null }) {
  return (
    <span class="exit doubt" title="The gateway runs no code there, and can't vouch for what comes from it.">
      on {subject === null ? "a viewer" : subject}'s own machine
    </span>
  );
}

interface Props {
  model: TaskModel;
  task: KnownTask | undefined;
}

/** Whether a viewer's sandbox has the task, or made what it came to. */
export function TaskTrust({ model, task }: Props) {
  // Only a task that asks for one of a kind is ever given to such a sandbox.
  const mayBe = task?.input?.sandbox !== undefined;
  const sandboxes = useWatched("sandboxes", sandboxId, mayBe);
  const holder = sandboxes?.find(({ sandbox_id }) => sandbox_id === task?.sandbox_id);
  if (!model.isClients && holder?.trust !== "client") return null;
  return <TrustMark subject={task?.subject ?? null} />;
}
