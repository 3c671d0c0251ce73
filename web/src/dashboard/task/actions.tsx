import { useEffect, useState } from "preact/hooks";

import type { TaskStatus } from "../../client/index.ts";
import { draftOf } from "../draft.ts";
import type { Follower } from "../follow.ts";
import { Icon } from "../icons.tsx";
import { pageKeys } from "../keys.ts";
import { pageActions } from "../palette.tsx";
import { go } from "../route.ts";
import type { KnownTask } from "../store.ts";
import { explain } from "../submit.ts";
import { giveDraft } from "../taken-draft.ts";

interface Props {
  follower: Follower;
  task: KnownTask | undefined;
  status: TaskStatus | null;
  isOver: boolean;
}

type Wish = "cancel" | "pause" | "resume";

/** A wish and its effect are two things: the buttons tell of the one, the status of the other. */
export function Actions({ follower, task, status, isOver }: Props) {
  const [error, setError] = useState<string | null>(null);
  const [asking, setAsking] = useState<Wish | null>(null);
  const desire = task?.desire ?? "run";
  const isPaused = status === "paused" || (status === "pending" && desire === "pause");
  const toggle: Wish = isPaused ? "resume" : "pause";
  const wish = async (what: Wish) => {
    setAsking(what);
    setError(null);
    try {
      await follower.wish(what);
    } catch (failure) {
      setError(explain(failure));
    } finally {
      setAsking(null);
    }
  };
  const again = () => {
    if (task?.input === undefined) return;
    giveDraft(task.agent, draftOf(task.agent, task.input));
    go("#/new");
  };
  useShortcuts(isOver ? null : () => void wish(toggle), isOver ? null : () => void wish("cancel"), toggle);
  if (isOver) {
    return (
      <span class="actions">
        {task?.input !== undefined && (
          <button type="button" onClick={again}>
            <Icon name="again" /> Run again…
          </button>
        )}
      </span>
    );
  }
  if (status === null) return null;
  return (
    <span class="actions">
      {error !== null && (
        <span role="alert" class="error-text">
          {error}
        </span>
      )}
      <Waiting desire={desire} status={status} />
      <button
        type="button"
        disabled={asking !== null || desire === "cancel"}
        onClick={() => void wish(toggle)}
      >
        <Icon name={isPaused ? "play" : "pause"} /> {isPaused ? "Resume" : "Pause"}
      </button>
      <button
        type="button"
        class="danger"
        disabled={asking !== null || desire === "cancel"}
        onClick={() => void wish("cancel")}
      >
        <Icon name="stop" /> {desire === "cancel" || asking === "cancel" ? "Cancelling…" : "Cancel"}
      </button>
    </span>
  );
}

/** What was asked for and is not true yet. */
function Waiting({ desire, status }: { desire: string; status: TaskStatus }) {
  const words = { cancel: "Asked to stop", pause: "Asked to pause", run: "Asked to go on" }[desire];
  const isTrue = desire === "run" ? status !== "paused" : desire === "pause" && status === "paused";
  return isTrue || words === undefined ? null : <span class="hint">{`${words}; still ${status}.`}</span>;
}

/** By `p` and `x`, and by name in the palette. */
function useShortcuts(toggle: (() => void) | null, cancel: (() => void) | null, word: Wish): void {
  useEffect(() => {
    if (toggle === null || cancel === null) return;
    const name = word === "pause" ? "Pause this task" : "Resume this task";
    pageKeys.set("p", toggle).set("x", cancel);
    pageActions.set("p", { id: "toggle", word: name, detail: "p", run: toggle });
    pageActions.set("x", { id: "cancel", word: "Cancel this task", detail: "x", run: cancel });
    return () => {
      for (const key of ["p", "x"]) {
        pageKeys.delete(key);
        pageActions.delete(key);
      }
    };
  });
}
