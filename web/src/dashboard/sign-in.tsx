import { useEffect, useRef, useState } from "preact/hooks";

import { guestUntil, leaveLink, storedToken, storeToken } from "./identity.ts";
import { connection, session } from "./store.ts";

/** Asks for a token where the gateway wants one. */
export function SignIn() {
  return guestUntil.value === null ? <TokenForm /> : <LinkEnded />;
}

/** A link has its time; who has it can't do anything about that. */
function LinkEnded() {
  return (
    <section class="sign-in card">
      <h1>This link works no more</h1>
      <p class="muted">It has ended, or was taken back. Ask whoever gave it to you for another.</p>
      <button type="button" onClick={leaveLink}>
        Come in as yourself
      </button>
    </section>
  );
}

function TokenForm() {
  const [token, setToken] = useState("");
  const state = connection.value;
  const reason = state.phase === "stopped" ? state.reason : "";
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const submit = (event: Event) => {
    event.preventDefault();
    storeToken(token);
    session.connect();
  };
  return (
    <section class="sign-in card">
      <h1>{storedToken() === null ? "This gateway asks who you are" : "That token was not accepted"}</h1>
      <p class="muted">
        Paste a token. It is kept for this tab only. Whoever runs the gateway makes one with{" "}
        <code>gateway token</code>.
      </p>
      <form onSubmit={submit}>
        <label for="token">Token</label>
        <textarea
          ref={field}
          id="token"
          class="code"
          rows={4}
          value={token}
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => setToken(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter") return;
            event.preventDefault();
            event.currentTarget.form?.requestSubmit();
          }}
        />
        {storedToken() !== null && (
          <p role="alert" class="error-text">
            The gateway said: {reason}
          </p>
        )}
        <button type="submit" class="primary" disabled={token.trim() === ""}>
          Sign in
        </button>
      </form>
    </section>
  );
}
