import { useRef, useState } from "preact/hooks";

import { EXAMPLE } from "./example.ts";
import { FileEditor } from "./file-editor.tsx";
import type { FileEntry } from "./files.ts";
import { go, taskHref } from "./route.ts";
import { newKey } from "./store.ts";
import { explain, submit } from "./submit.ts";

export function NewTask() {
  const [commands, setCommands] = useState("");
  const [files, setFiles] = useState<FileEntry[]>([]);
  const [error, setError] = useState<string | null>(null);
  const [isSending, setSending] = useState(false);
  // One key for one content: pressing twice, or again after a failure, never makes two tasks.
  const attempt = useRef({ content: "", key: "" });

  const send = async (lines: string[], entries: FileEntry[]) => {
    const content = JSON.stringify([lines, entries]);
    if (attempt.current.content !== content) attempt.current = { content, key: newKey() };
    setSending(true);
    setError(null);
    try {
      const taskId = await submit(lines, entries, attempt.current.key);
      attempt.current = { content: "", key: "" };
      go(taskHref(taskId));
    } catch (failure) {
      setError(explain(failure));
    } finally {
      setSending(false);
    }
  };
  const submitForm = () => {
    const lines = commands.split("\n").filter((line) => line.trim() !== "");
    const twice = files.find((file, index) => files.findIndex((other) => other.path === file.path) !== index);
    if (lines.length === 0) setError("Write at least one command.");
    else if (twice !== undefined) setError(`Two files are called ${twice.path}.`);
    else if (!isSending) void send(lines, files);
  };
  const runExample = () => {
    setCommands(EXAMPLE.commands.join("\n"));
    setFiles(EXAMPLE.files);
    void send(EXAMPLE.commands, EXAMPLE.files);
  };

  return (
    <section class="new-task" aria-labelledby="new-task-title">
      <div class="page-head">
        <a class="back" href="#/">
          ‹ Tasks
        </a>
        <h1 id="new-task-title">New task</h1>
        <p class="muted">Your files go into a fresh sandbox, your commands run there one after another.</p>
      </div>
      <div class="example">
        <p>
          <strong>New here?</strong> <span class="muted">See real commands run, line by line.</span>
        </p>
        <button type="button" disabled={isSending} onClick={runExample}>
          ▶ Run the example
        </button>
      </div>
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          submitForm();
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submitForm();
        }}
      >
        <label for="commands">Commands</label>
        <p class="hint" id="commands-hint">
          One per line. The first that fails ends the task.
        </p>
        <textarea
          id="commands"
          class="code"
          rows={4}
          value={commands}
          placeholder={"python3 hello.py\nls -l"}
          aria-describedby="commands-hint"
          spellcheck={false}
          autocapitalize="off"
          onInput={(event) => setCommands(event.currentTarget.value)}
        />
        <FileEditor files={files} onChange={setFiles} onError={setError} />
        {error !== null && (
          <p role="alert" class="error-text">
            {error}
          </p>
        )}
        <div class="form-foot">
          <button type="submit" class="primary" disabled={isSending}>
            {isSending ? "Submitting…" : "Submit task"}
          </button>
          <span class="hint">
            <kbd>Ctrl</kbd> <kbd>Enter</kbd>
          </span>
        </div>
      </form>
    </section>
  );
}
