import { useState } from "preact/hooks";

/** A task's site, in a frame: it has an origin of its own, and can't take the page elsewhere. */
export function Preview({ url, isOurs }: { url: string; isOurs: boolean }) {
  const [round, setRound] = useState(0);
  // An origin of its own may be kept, so that a site can store things; ours never is.
  const isHere = new URL(url).origin === location.origin;
  return (
    <section class="preview" aria-label="Site">
      <div class="preview-bar">
        <button type="button" class="small" onClick={() => setRound(round + 1)}>
          Reload
        </button>
        <a class="clip" href={url} target="_blank" rel="noopener noreferrer">
          {url}
        </a>
      </div>
      {isOurs ? (
        <iframe
          key={round}
          src={url}
          title="The task's site"
          sandbox={`allow-scripts allow-forms${isHere ? "" : " allow-same-origin"}`}
          referrerpolicy="no-referrer"
        />
      ) : (
        <p class="empty">It runs on its owner's own machine, in a browser's tab, and opens only there.</p>
      )}
    </section>
  );
}
