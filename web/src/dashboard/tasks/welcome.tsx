import { useState } from "preact/hooks";

import { Command } from "../copyable.tsx";
import { EXAMPLES, type Example } from "../example.ts";
import { Icon } from "../icons.tsx";
import { go, taskHref } from "../route.ts";
import { welcome } from "../store.ts";
import { explain, submit } from "../submit.ts";

/** The first thing that anybody sees: one click away from a real task. */
export function Welcome() {
  const [error, setError] = useState<string | null>(null);
  const [isSending, setSending] = useState(false);
  const agents = welcome.value?.agents ?? [];
  const [first, ...others] = EXAMPLES.filter((example) => agents.includes(example.agent));
  const run = async (example: Example) => {
    setSending(true);
    try {
      go(taskHref(await submit(example.agent, example.draft)));
    } catch (failure) {
      setError(explain(failure));
      setSending(false);
    }
  };
  return (
    <section class="welcome">
      <h1>Run something</h1>
      <p class="lead">
        Every task gets a fresh sandbox, and every line of it comes here the moment it is written. Close the
        laptop, lose the network, restart the gateway: nothing is missed.
      </p>
      {first !== undefined && (
        <button type="button" class="primary large" disabled={isSending} onClick={() => void run(first)}>
          <Icon name="play" /> Run the example
        </button>
      )}
      {error !== null && (
        <p role="alert" class="error-text">
          {error}
        </p>
      )}
      <ul class="examples">
        {others.map((example) => (
          <li key={example.title}>
            <button type="button" disabled={isSending} onClick={() => void run(example)}>
              <strong>{example.title}</strong>
              <span class="muted">{example.about}</span>
            </button>
          </li>
        ))}
      </ul>
      <p class="muted">
        <a href="#/new">Write your own</a>, or start from a terminal:
      </p>
      <Command line={`gateway submit . --command "ls -l" --url ${location.origin}`} />
    </section>
  );
}
