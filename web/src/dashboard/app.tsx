import { Header } from "./header.tsx";
import { NewTask } from "./new-task.tsx";
import { route } from "./route.ts";
import { SignIn } from "./sign-in.tsx";
import { connection } from "./store.ts";
import { TaskList } from "./task-list.tsx";
import { TaskView } from "./task-view.tsx";

export function App() {
  const state = connection.value;
  const needsToken = state.phase === "stopped" && state.needsToken;
  return (
    <>
      <Header />
      {needsToken ? <SignIn /> : <Pages />}
    </>
  );
}

/** List and page side by side; on a narrow screen the route says which of the two is shown. */
function Pages() {
  const here = route.value;
  const state = connection.value;
  return (
    <div class={`pages at-${here.page}`}>
      <TaskList />
      <main>
        {state.phase === "stopped" && (
          <p role="alert" class="failure">
            The gateway closed the connection and said not to come back: {state.reason}.
          </p>
        )}
        {here.page === "task" ? <TaskView taskId={here.taskId} /> : <NewTask />}
      </main>
    </div>
  );
}
