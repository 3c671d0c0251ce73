import { GuestBar } from "./guest.tsx";
import { NewTask } from "./new-task.tsx";
import { Overlays } from "./palette.tsx";
import { route } from "./route.ts";
import { Sandboxes } from "./sandboxes.tsx";
import { Shell } from "./shell.tsx";
import { SignIn } from "./sign-in.tsx";
import { connection } from "./store.ts";
import { TaskView } from "./task-view.tsx";
import { TaskList } from "./tasks/task-list.tsx";
import { WorkflowView } from "./workflows/workflow-view.tsx";
import { Workflows } from "./workflows/workflows.tsx";

export function App() {
  const state = connection.value;
  const needsToken = state.phase === "stopped" && state.needsToken;
  return (
    <>
      <Shell />
      <main id="main" tabIndex={-1} class={`at-${route.value.page}`}>
        {needsToken ? <SignIn /> : <Here />}
      </main>
      <Overlays />
    </>
  );
}

function Here() {
  const state = connection.value;
  return (
    <>
      {state.phase === "stopped" && (
        <p role="alert" class="failure">
          The gateway closed the connection and said not to come back: {state.reason}.
        </p>
      )}
      <GuestBar />
      <Shown />
    </>
  );
}

function Shown() {
  const { page, id } = route.value;
  if (page === "task") return <TaskView taskId={id} />;
  if (page === "new") return <NewTask />;
  if (page === "workflows") return <Workflows />;
  if (page === "workflow") return <WorkflowView key={id} workflowId={id} />;
  if (page === "sandboxes") return <Sandboxes />;
  return <TaskList />;
}
