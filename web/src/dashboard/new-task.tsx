import { useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";

import type { AgentInfo } from "../client/index.ts";
import { type Draft, emptyDraft, paramsOf, problemOf } from "./draft.ts";
import { EXAMPLES } from "./example.ts";
import { FileEditor } from "./file-editor.tsx";
import { Icon } from "./icons.tsx";
import { go, taskHref } from "./route.ts";
import type { Schema } from "./schema.ts";
import { SchemaField, SchemaFields } from "./schema-form.tsx";
import { SnippetPane } from "./snippet-pane.tsx";
import { connection, newKey, session } from "./store.ts";
import { explain, submit } from "./submit.ts";
import { giveDraft, takeDraft } from "./taken-draft.ts";

export function NewTask() {
  const taken = useRef(takeDraft());
  const [agents, setAgents] = useState<AgentInfo[]>([]);
  const [agent, setAgent] = useState(taken.current?.agent ?? "sandbox");
  const [draft, setDraft] = useState<Draft>(taken.current?.draft ?? emptyDraft());
  const [error, setError] = useState<string | null>(taken.current?.note ?? null);
  const isSending = useSignal(false);
  const isLive = connection.value.phase === "live";
  // One key for one content: pressing twice, or again after a failure, never makes two tasks.
  const attempt = useRef({ content: "", key: "" });
  const leaving = useRef(() => {});

  useEffect(() => {
    if (isLive) session.agents().then(setAgents, (failure) => setError(explain(failure)));
  }, [isLive]);
  const send = async () => {
    const problem = problemOf(agent, draft);
    setError(problem);
    if (problem !== null || isSending.value) return;
    const content = JSON.stringify([agent, draft]);
    if (attempt.current.content !== content) attempt.current = { content, key: newKey() };
    isSending.value = true;
    try {
      const taskId = await submit(agent, draft, attempt.current.key);
      leaving.current = () => {};
      go(taskHref(taskId));
    } catch (failure) {
      setError(explain(failure));
    } finally {
      isSending.value = false;
    }
  };
  const use = (name: string, next: Draft) => {
    setAgent(name);
    setDraft(next);
    setError(null);
  };
  useEffect(() => {
    leaving.current = () => giveDraft(agent, draft);
  }, [agent, draft]);
  useEffect(() => () => leaving.current(), []);
  const schema = agents.find(({ name }) => name === agent)?.input_schema as Schema | undefined;

  return (
    <section class="new-task" aria-labelledby="new-task-title">
      <h1 id="new-task-title">New task</h1>
      <div class="examples-bar">
        <span class="hint">Begin with</span>
        {EXAMPLES.filter((example) => agents.some(({ name }) => name === example.agent)).map((example) => (
          <button
            key={example.title}
            type="button"
            class="small"
            title={example.about}
            onClick={() => use(example.agent, example.draft)}
          >
            {example.title}
          </button>
        ))}
      </div>
      <div class="beside">
        <form
          class="card"
          onSubmit={(event) => {
            event.preventDefault();
            void send();
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey))
              event.currentTarget.requestSubmit();
          }}
        >
          <AgentChoice agents={agents} agent={agent} onChange={(name) => use(name, emptyDraft())} />
          {agent === "sandbox" ? (
            <SandboxInput draft={draft} schema={schema} onChange={setDraft} onError={setError} />
          ) : (
            <AgentInput draft={draft} schema={schema} onChange={setDraft} />
          )}
          <details>
            <summary>Name, time and priority</summary>
            <SchemaFields
              schema={OPTIONS}
              root={OPTIONS}
              values={draft.options}
              onChange={(options) => setDraft({ ...draft, options })}
            />
          </details>
          {error !== null && (
            <p role="alert" class="error-text">
              {error}
            </p>
          )}
          <div class="form-foot">
            <button type="submit" class="primary" disabled={isSending.value}>
              <Icon name="play" /> {isSending.value ? "Submitting…" : "Submit task"}
            </button>
            <span class="hint">
              <kbd>Ctrl</kbd> <kbd>Enter</kbd>
            </span>
          </div>
        </form>
        <SnippetPane params={paramsOf(agent, draft)} />
      </div>
    </section>
  );
}

/** What any task can be told, beside its input. */
const OPTIONS: Schema = {
  properties: {
    name: { type: "string", description: "What the list calls it; else its first command." },
    labels: {
      type: "array",
      items: { type: "string" },
      description: "As key=value; the list can be narrowed to one.",
    },
    timeout_s: { type: "integer", title: "Timeout (s)", minimum: 1, maximum: 86_400, default: 300 },
    max_attempts: {
      type: "integer",
      minimum: 1,
      maximum: 1_000,
      default: 3,
      description: "How often a lost place is replaced.",
    },
    priority: { type: "integer", minimum: -10, maximum: 10, default: 0 },
    detach: { enum: ["continue", "pause", "cancel"], title: "When nobody watches", default: "continue" },
  },
};

interface ChoiceProps {
  agents: AgentInfo[];
  agent: string;
  onChange: (agent: string) => void;
}

function AgentChoice({ agents, agent, onChange }: ChoiceProps) {
  return (
    <div class="field">
      <label for="agent">Agent</label>
      <select id="agent" value={agent} onChange={(event) => onChange(event.currentTarget.value)}>
        {agents.length === 0 && <option>{agent}</option>}
        {agents.map(({ name }) => (
          <option key={name} value={name}>
            {name === "sandbox" ? "sandbox: your files and commands" : name}
          </option>
        ))}
      </select>
    </div>
  );
}

interface InputProps {
  draft: Draft;
  schema: Schema | undefined;
  onChange: (draft: Draft) => void;
}

function SandboxInput({
  draft,
  schema,
  onChange,
  onError,
}: InputProps & { onError: (text: string | null) => void }) {
  return (
    <>
      <div class="field">
        <label for="commands">Commands</label>
        <p class="hint" id="commands-hint">
          One per line, in a fresh sandbox. The first that fails ends the task; <code>serve</code> puts the
          folder up as a site.
        </p>
        <textarea
          id="commands"
          class="code"
          rows={4}
          value={draft.commands}
          placeholder={"python3 hello.py\nls -l"}
          aria-describedby="commands-hint"
          spellcheck={false}
          autocapitalize="off"
          onInput={(event) => onChange({ ...draft, commands: event.currentTarget.value })}
        />
      </div>
      <FileEditor files={draft.files} onChange={(files) => onChange({ ...draft, files })} onError={onError} />
      {schema !== undefined && (
        <details open={Object.keys(draft.rest).length > 0}>
          <summary>Limits, files to bring back, standard input</summary>
          <SchemaFields
            schema={schema}
            root={schema}
            values={draft.rest}
            without={["files", "commands"]}
            onChange={(rest) => onChange({ ...draft, rest })}
          />
        </details>
      )}
    </>
  );
}

/** The task's text first and large; the rest as the agent's schema has it. */
function AgentInput({ draft, schema, onChange }: InputProps) {
  if (schema === undefined) return <p class="muted">Loading…</p>;
  const text: Schema = {
    ...schema.properties?.task,
    type: "string",
    title: "What is to be done",
    maxLength: 4_096,
  };
  const set = (rest: Draft["rest"]) => onChange({ ...draft, rest });
  return (
    <>
      <SchemaField
        name="task"
        schema={text}
        root={schema}
        isRequired={schema.required?.includes("task") ?? false}
        value={draft.rest.task}
        onChange={(task) => set({ ...draft.rest, task })}
      />
      <SchemaFields schema={schema} root={schema} values={draft.rest} without={["task"]} onChange={set} />
    </>
  );
}
