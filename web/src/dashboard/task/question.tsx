import { useEffect, useRef, useState } from "preact/hooks";

import type { Follower } from "../follow.ts";
import { canSteer } from "../identity.ts";
import { kindOf, resolve, type Schema } from "../schema.ts";
import { SchemaField, SchemaFields } from "../schema-form.tsx";
import { explain } from "../submit.ts";
import type { Question } from "../task-model.ts";

interface Props {
  question: Question;
  follower: Follower;
}

/** What an agent asks; for whoever may answer, with a form. */
export function QuestionOf({ question, follower }: Props) {
  if (canSteer.value) return <QuestionForm question={question} follower={follower} />;
  return (
    <section class="question" aria-label="The task asks">
      <p class="question-prompt">{question.prompt}</p>
      <p class="hint">It waits for its owner's answer.</p>
    </section>
  );
}

/** Drawn from the schema that the agent gave. */
function QuestionForm({ question, follower }: Props) {
  const root = (question.schema ?? { type: "string" }) as Schema;
  const schema = resolve(root, root);
  const isGroup = kindOf(schema) === "group";
  const [value, setValue] = useState<unknown>(isGroup ? {} : undefined);
  const [error, setError] = useState<string | null>(null);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    form.current?.querySelector<HTMLElement>("input, select, textarea")?.focus();
  }, []);
  const answer = async () => {
    try {
      await follower.send(
        value ?? (schema.type === "string" ? "" : schema.type === "boolean" ? false : null),
        {
          key: question.key,
        },
      );
      setError(null);
    } catch (failure) {
      setError(explain(failure));
    }
  };
  return (
    <form
      ref={form}
      class="question"
      aria-label="The task asks"
      onSubmit={(event) => {
        event.preventDefault();
        void answer();
      }}
    >
      <p class="question-prompt" role="status">
        {question.prompt}
      </p>
      {isGroup ? (
        <SchemaFields
          schema={schema}
          root={root}
          values={value as { [key: string]: unknown }}
          onChange={setValue}
        />
      ) : (
        <SchemaField
          name="answer"
          schema={{ ...schema, title: "Your answer" }}
          root={root}
          value={value}
          onChange={setValue}
        />
      )}
      {error !== null && (
        <p role="alert" class="error-text">
          {error}
        </p>
      )}
      <button type="submit" class="primary">
        Answer
      </button>
    </form>
  );
}
