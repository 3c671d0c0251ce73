import { useEffect, useRef } from "preact/hooks";

import { GuestBar } from "./guest.tsx";
import { NewTask } from "./new-task.tsx";
import { Overlays } from "./palette.tsx";
import { type Route, route } from "./route.ts";
import { Sandboxes } from "./sandboxes.tsx";
import { Shell } from "./shell.tsx";
import { SignIn } from "./sign-in.tsx";
import { connection } from "./store.ts";
import { TaskView } from "./task-view.tsx";
import { TaskList } from "./tasks/task-list.tsx";
import { WorkflowView } from "./workflows/workflow-view.tsx";
import { Workflows } from "./workflows/workflows.tsx";

/** Whoever came by a row or a dialog that is gone goes on at the beginning of what is shown, not of the document. */
function useFocusKept({ page, id }: Route): void {
  const isFirst = useRef(true);
  useEffect(() => {
    if (!isFirst.current && document.activeElement === document.body) {
      document.getElementById("main")?.focus({ preventScroll: true });
    }
    isFirst.current = false;
  }, [page, id]);
}

export function App() {
  useFocusKept(route.value);
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
