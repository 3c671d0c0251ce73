import { useState } from "preact/hooks";

import { CopyButton } from "./copyable.tsx";
import { session } from "./store.ts";
import { explain } from "./submit.ts";

/** Has a link made by which a browser's tab becomes a sandbox of one's own. */
export function UseTab() {
  const [link, setLink] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const make = async () => {
    try {
      const { path } = await session.pair();
      setLink(new URL(path, location.origin).href);
      setError(null);
    } catch (failure) {
      setError(explain(failure));
    }
  };
  return (
    <div class="use-tab">
      <button type="button" onClick={() => void make()}>
        {link === null ? "Use a tab" : "Another link"}
      </button>
      {error !== null && (
        <p role="alert" class="error-text">
          {error}
        </p>
      )}
      {link !== null && <Link link={link} />}
    </div>
  );
}

function Link({ link }: { link: string }) {
  return (
    <p class="hint">
      <a href={link} target="_blank" rel="noopener">
        Open the tab
      </a>{" "}
      that is to run your tasks, or open this link in another browser:{" "}
      <CopyButton text={() => link} label="Copy" /> It is good once, for a few minutes. Tasks that say{" "}
      <code>"sandbox": {'{"runtime": "webcontainer"}'}</code> run there.
    </p>
  );
}
