import { useLayoutEffect, useState } from "preact/hooks";

import type { TaskStatus } from "../../client/index.ts";
import { draftOf } from "../draft.ts";
import type { Follower } from "../follow.ts";
import { Icon } from "../icons.tsx";
import { canSteer, guestUntil } from "../identity.ts";
import { pageKeys } from "../keys.ts";
import { openShare } from "../overlays.ts";
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

/** What may be done with the task by whoever is here. */
export function Actions(props: Props) {
  const { task, status, isOver } = props;
  if (status === null) return null;
  return (
    <span class="actions">
      {canSteer.value && (isOver ? <Again task={task} /> : <Steering {...props} status={status} />)}
      {guestUntil.value === null && <Share />}
    </span>
  );
}

function Share() {
  useShortcut("l", "A link to this task", openShare);
  return (
    <button type="button" onClick={openShare}>
      <Icon name="share" /> Share
    </button>
  );
}

function Again({ task }: { task: KnownTask | undefined }) {
  if (task?.input === undefined) return null;
  const { agent, input, input_files: uploaded = [] } = task;
  const again = () => {
    const files =
      uploaded.length === 1 ? "file that was uploaded" : `${uploaded.length} files that were uploaded`;
    const note = `The ${files} with that task did not come along: choose them again.`;
    giveDraft(agent, draftOf(agent, input), uploaded.length > 0 ? note : null);
    go("#/new");
  };
  return (
    <button type="button" onClick={again}>
      <Icon name="again" /> Run again…
    </button>
  );
}

/** A wish and its effect are two things: the buttons tell of the one, the status of the other. */
function Steering({ follower, task, status }: Props & { status: TaskStatus }) {
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
  useShortcut("p", toggle === "pause" ? "Pause this task" : "Resume this task", () => void wish(toggle));
  useShortcut("x", "Cancel this task", () => void wish("cancel"));
  return (
    <>
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
    </>
  );
}

/** What was asked for and is not true yet. */
function Waiting({ desire, status }: { desire: string; status: TaskStatus }) {
  const words = { cancel: "Asked to stop", pause: "Asked to pause", run: "Asked to go on" }[desire];
  const isTrue = desire === "run" ? status !== "paused" : desire === "pause" && status === "paused";
  return isTrue || words === undefined ? null : <span class="hint">{`${words}; still ${status}.`}</span>;
}

/** By a key, and by name in the palette, while its button is there. */
function useShortcut(key: string, word: string, run: () => void): void {
  // As soon as the button says so: who is quick presses before the next frame.
  useLayoutEffect(() => {
    pageKeys.set(key, run);
    pageActions.set(key, { id: key, word, detail: key, run });
    return () => {
      pageKeys.delete(key);
      pageActions.delete(key);
    };
  });
}
