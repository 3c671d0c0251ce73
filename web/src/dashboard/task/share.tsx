import { useEffect, useRef, useState } from "preact/hooks";

import type { Whoami } from "../../client/index.ts";
import { moment } from "../guest.tsx";
import { Modal } from "../modal.tsx";
import { closeOverlay } from "../overlays.ts";
import { taskHref } from "../route.ts";
import { session, welcome } from "../store.ts";
import { explain } from "../submit.ts";

const LIVES: { seconds: number; word: string }[] = [
  { seconds: 3_600, word: "1 hour" },
  { seconds: 86_400, word: "1 day" },
  { seconds: 604_800, word: "1 week" },
  { seconds: 2_592_000, word: "30 days" },
];

/** A link to this task, to give away. */
export function ShareDialog({ taskId }: { taskId: string }) {
  const [who, setWho] = useState<Whoami | null>(null);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    session.whoami().then(setWho, (failure) => setError(explain(failure)));
  }, []);
  return (
    <Modal which="share" label="Share this task">
      <div class="share">
        <h2>Share this task</h2>
        {error !== null && (
          <p role="alert" class="error-text">
            {error}
          </p>
        )}
        {who !== null && who.share_max_s !== null && <SignedLink taskId={taskId} maxS={who.share_max_s} />}
        {who !== null && who.share_max_s === null && <PlainLink taskId={taskId} />}
        <button type="button" onClick={() => closeOverlay("share")}>
          Close
        </button>
      </div>
    </Modal>
  );
}

/** Shows this task to whoever has it, whoever they are. */
function SignedLink({ taskId, maxS }: { taskId: string; maxS: number }) {
  const choices = LIVES.filter(({ seconds }) => seconds <= maxS);
  const [seconds, setSeconds] = useState(choices.at(1)?.seconds ?? choices.at(0)?.seconds ?? maxS);
  const [made, setMade] = useState<{ link: string; until: string } | null>(null);
  const [error, setError] = useState<string | null>(null);
  const make = async () => {
    try {
      const shared = await session.task(taskId).share({ expires_in_s: seconds });
      const link = `${addressOf(taskId)}&token=${shared.token}`;
      setMade({ link, until: moment(Date.parse(shared.expires_at)) });
      setError(null);
    } catch (failure) {
      setError(explain(failure));
    }
  };
  return (
    <>
      <p class="muted">
        Whoever has the link sees this task: its commands, its output and its files. They can't steer it, and
        they see no other.
      </p>
      <div class="share-line">
        <label for="share-life">Works for</label>
        <select
          id="share-life"
          value={seconds}
          onChange={(event) => {
            setSeconds(Number(event.currentTarget.value));
            setMade(null);
          }}
        >
          {choices.length === 0 && <option value={maxS}>{maxS} s</option>}
          {choices.map(({ seconds: life, word }) => (
            <option key={life} value={life}>
              {word}
            </option>
          ))}
        </select>
        <button ref={focused} type="button" class="primary" onClick={() => void make()}>
          Copy a link
        </button>
      </div>
      {error !== null && (
        <p role="alert" class="error-text">
          {error}
        </p>
      )}
      {made !== null && <Copied link={made.link} about={`It works until ${made.until}.`} />}
    </>
  );
}

/** Where nothing is signed, a link is an address. */
function PlainLink({ taskId }: { taskId: string }) {
  const [isAsked, setAsked] = useState(false);
  return (
    <>
      <p class="muted">
        {welcome.value?.subject === "anonymous"
          ? "This gateway asks nobody who they are: whoever reaches it can open this address, and steer the task."
          : "This gateway signs no links: this address is for those who may see the task anyway, and sign in as themselves."}
      </p>
      <div class="share-line">
        <button ref={focused} type="button" class="primary" onClick={() => setAsked(true)}>
          Copy the address
        </button>
      </div>
      {isAsked && <Copied link={addressOf(taskId)} about="" />}
    </>
  );
}

/** Copied as it appears, and there to be copied by hand where the browser forbids it. */
function Copied({ link, about }: { link: string; about: string }) {
  const [said, setSaid] = useState("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    field.current?.select();
    // Without a secure context there is no clipboard, nor where it was forbidden.
    const copying = navigator.clipboard?.writeText(link) ?? Promise.reject(new Error("no clipboard"));
    copying.then(
      () => setSaid("Copied."),
      () => setSaid("Copy it from here."),
    );
  }, [link]);
  return (
    <div class="field">
      <label for="share-link">The link</label>
      <input id="share-link" ref={field} class="code" readOnly value={link} />
      <p role="status" class="hint">
        {said} {about}
      </p>
    </div>
  );
}

/** What one has come for. */
function focused(button: HTMLButtonElement | null): void {
  button?.focus();
}

/** The token comes after `#`, which no browser sends. */
function addressOf(taskId: string): string {
  return `${location.origin}/${taskHref(taskId)}`;
}
