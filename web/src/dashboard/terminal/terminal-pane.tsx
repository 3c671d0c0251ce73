import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { type TaskStatus, TERMINAL } from "../../client/index.ts";
import { CopyButton } from "../copyable.tsx";
import type { Follower } from "../follow.ts";
import { keep } from "../keep.ts";
import { SHOWN_LINES } from "../output.ts";
import { ScrollText } from "../scroll-text.tsx";
import { session } from "../store.ts";
import { explain } from "../submit.ts";
import { useThrottled } from "../throttled.ts";
import { wholeLog } from "../whole-log.ts";
import type { Screen } from "./terminal.ts";

/** A task's output as it comes, as a terminal; or, for a screen reader or a plain eye, as text. */
export function TerminalPane({ follower, status }: { follower: Follower; status: TaskStatus | null }) {
  const [isText, setText] = useState(false);
  const [isFollowing, setFollowing] = useState(true);
  const [error, setError] = useState<string | null>(null);
  const screen = useRef<Screen | null>(null);
  const { output } = follower;
  void follower.version.value;

  return (
    <section class="output" aria-label="Output">
      <div class="output-bar">
        {!isText && <Search find={(text, back) => screen.current?.search(text, back) ?? false} />}
        <span class="spacer" />
        {!isText && !isFollowing && (
          <button type="button" class="small" onClick={() => screen.current?.follow()}>
            ↓ Follow
          </button>
        )}
        <button type="button" class="small" aria-pressed={isText} onClick={() => setText(!isText)}>
          Plain text
        </button>
        <CopyButton text={() => output.text()} label="Copy" />
        <SaveButton taskId={follower.taskId} onError={setError} />
      </div>
      {error !== null && (
        <p role="alert" class="error-text">
          {error}
        </p>
      )}
      {isText ? (
        <PlainOutput follower={follower} />
      ) : (
        <ScreenOf follower={follower} screen={screen} onFollow={setFollowing} />
      )}
      {output.isEmpty && <p class="no-output">{emptyWords(status)}</p>}
    </section>
  );
}

/** Puts all of the log into a file, also what is not kept here any more. */
function SaveButton({ taskId, onError }: { taskId: string; onError: (error: string | null) => void }) {
  const [share, setShare] = useState<number | null>(null);
  const save = async () => {
    setShare(0);
    onError(null);
    try {
      keep(`${taskId}.txt`, await wholeLog((seq) => session.task(taskId).page(seq), setShare));
    } catch (failure) {
      onError(explain(failure));
    }
    setShare(null);
  };
  return (
    <button type="button" class="small" disabled={share !== null} onClick={() => void save()}>
      {share === null ? "Save" : `Saving… ${Math.floor(100 * share)} %`}
    </button>
  );
}

/** What is said where it has written nothing. */
function emptyWords(status: TaskStatus | null): string {
  if (status === null || status === "running") return "Nothing yet. Lines appear as they are written.";
  if (TERMINAL.has(status)) return "It wrote nothing.";
  return status === "paused"
    ? "Nothing yet. It is paused."
    : "It waits for a place that is free and fits it.";
}

interface ScreenProps {
  follower: Follower;
  screen: { current: Screen | null };
  onFollow: (isFollowing: boolean) => void;
}

function ScreenOf({ follower, screen, onFollow }: ScreenProps) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let isGone = false;
    let stop = () => {
      isGone = true;
    };
    void import("./terminal.ts").then(({ openScreen }) => {
      if (isGone || place.current === null) return;
      const opened = openScreen(place.current, onFollow);
      const hide = follower.output.show(opened.write);
      screen.current = opened;
      stop = () => {
        hide();
        screen.current = null;
        opened.dispose();
      };
    });
    return () => stop();
  }, [follower, screen, onFollow]);
  return <div ref={place} class="screen" data-testid="screen" />;
}

/** Nothing in it is markup: it is set as text. */
function PlainOutput({ follower: { output, version } }: { follower: Follower }) {
  void version.value;
  // Made of all there is, so not in every frame of a flood.
  const total = useThrottled(output.total);
  const text = useMemo(() => output.text(SHOWN_LINES), [output, total]);
  return <ScrollText class="plain" label="Output as text" text={text} />;
}

function Search({ find }: { find: (text: string, isBackwards: boolean) => boolean }) {
  const [isMissing, setMissing] = useState(false);
  const search = (text: string, isBackwards: boolean) => setMissing(text !== "" && !find(text, isBackwards));
  return (
    <label class="output-search">
      <span class="unseen">Search the output</span>
      <input
        type="search"
        placeholder="Search output"
        class={isMissing ? "missing" : ""}
        aria-invalid={isMissing}
        onInput={(event) => search(event.currentTarget.value, false)}
        onKeyDown={(event) => {
          if (event.key === "Enter") search(event.currentTarget.value, event.shiftKey);
        }}
      />
    </label>
  );
}
