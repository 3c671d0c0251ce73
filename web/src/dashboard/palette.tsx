import { useState } from "preact/hooks";

import { KEYS } from "./keys.ts";
import { Modal } from "./modal.tsx";
import { closeOverlay, overlay } from "./overlays.ts";
import { go, offers, type Page, route, taskHref } from "./route.ts";
import { tasks } from "./store.ts";
import { ShareDialog } from "./task/share.tsx";
import { nameOf } from "./task-name.ts";
import { nextTheme } from "./theme.ts";
import { STATUS_WORDS } from "./words.ts";

interface Action {
  id: string;
  word: string;
  detail: string;
  /** Where it leads, for those to whom that is no use. */
  page?: Page;
  run: () => void;
}

const PLACES: Action[] = [
  { id: "tasks", word: "Tasks", detail: "t", run: () => go("#/") },
  { id: "new", word: "New task", detail: "n", page: "new", run: () => go("#/new") },
  { id: "running", word: "Running tasks", detail: "", run: () => go("#/?status=running") },
  { id: "failed", word: "Failed tasks", detail: "", run: () => go("#/?status=failed") },
  { id: "workflows", word: "Workflows", detail: "w", page: "workflows", run: () => go("#/workflows") },
  {
    id: "sandboxes",
    word: "Sandboxes and instances",
    detail: "s",
    page: "sandboxes",
    run: () => go("#/sandboxes"),
  },
  { id: "theme", word: "Change the theme", detail: "", run: nextTheme },
];
const MAX_FOUND = 12;

/** What the page that is shown can do; it says so itself. */
export const pageActions = new Map<string, Action>();

export function Overlays() {
  if (overlay.value === "palette") return <Palette />;
  if (overlay.value === "share") return <ShareDialog taskId={route.value.id} />;
  return overlay.value === "help" ? <Help /> : null;
}

function Palette() {
  const [text, setText] = useState("");
  const [marked, setMarked] = useState(0);
  const found = find(text);
  const run = (action: Action | undefined) => {
    closeOverlay("palette");
    action?.run();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) setMarked((marked + step + found.length) % Math.max(1, found.length));
    else if (event.key === "Enter") run(found[marked]);
    else return;
    event.preventDefault();
  };
  return (
    <Modal which="palette" label="Go anywhere">
      <input
        class="palette-input"
        role="combobox"
        aria-label="Go anywhere"
        aria-expanded="true"
        aria-controls="palette-found"
        aria-activedescendant={found[marked] === undefined ? undefined : `palette-${found[marked].id}`}
        placeholder="A page, a task, an action…"
        value={text}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setMarked(0);
        }}
        onKeyDown={onKeyDown}
      />
      <div id="palette-found" class="palette-found" role="listbox" aria-label="Found">
        {found.map((action, index) => (
          // biome-ignore lint/a11y/useFocusableInteractive: the field keeps the focus, and names the marked one
          // biome-ignore lint/a11y/useKeyWithClickEvents: the field takes the keys
          <div
            key={action.id}
            id={`palette-${action.id}`}
            role="option"
            aria-selected={index === marked}
            onClick={() => run(action)}
          >
            <span class="clip">{action.word}</span>
            <span class="hint">{action.detail}</span>
          </div>
        ))}
      </div>
      {found.length === 0 && <p class="palette-none">Nothing is called that.</p>}
    </Modal>
  );
}

function find(text: string): Action[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (name: string) => words.every((word) => name.toLowerCase().includes(word));
  const actions = [...pageActions.values(), ...PLACES].filter(
    ({ word, page }) => fits(word) && (page === undefined || offers(page)),
  );
  const found = tasks.value.filter((task) => fits(`${nameOf(task)} ${task.task_id} ${task.agent}`));
  return [...actions, ...found.slice(0, MAX_FOUND).map(toAction)].slice(0, MAX_FOUND);
}

function toAction(task: (typeof tasks.value)[number]): Action {
  return {
    id: task.task_id,
    word: nameOf(task),
    detail: STATUS_WORDS[task.status],
    run: () => go(taskHref(task.task_id)),
  };
}

function Help() {
  return (
    <Modal which="help" label="Keyboard">
      <div class="help">
        <h2>Keyboard</h2>
        <dl>
          {KEYS.map(({ keys, about }) => (
            <div key={about}>
              <dt>
                {keys.map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </dt>
              <dd>{about}</dd>
            </div>
          ))}
        </dl>
        <button type="button" onClick={() => closeOverlay("help")}>
          Close
        </button>
      </div>
    </Modal>
  );
}
