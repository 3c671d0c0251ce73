import { useState } from "preact/hooks";

import type { Follower } from "../follow.ts";
import { explain } from "../submit.ts";

/** What is written here goes to the standard input of the command that runs. */
export function StdinBar({ follower }: { follower: Follower }) {
  const [text, setText] = useState("");
  const [error, setError] = useState<string | null>(null);
  const send = async (data: string, eof: boolean) => {
    try {
      await follower.send(data, { eof });
      setText("");
      setError(null);
    } catch (failure) {
      setError(explain(failure));
    }
  };
  return (
    <form
      class="stdin"
      onSubmit={(event) => {
        event.preventDefault();
        void send(`${text}\n`, false);
      }}
    >
      <label class="unseen" for="stdin">
        Standard input
      </label>
      <input
        id="stdin"
        class="code"
        value={text}
        placeholder="A line for the command's standard input"
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <button type="submit">Send</button>
      <button type="button" title="Close the standard input" onClick={() => void send("", true)}>
        End
      </button>
      {error !== null && (
        <span role="alert" class="error-text">
          {error}
        </span>
      )}
    </form>
  );
}
