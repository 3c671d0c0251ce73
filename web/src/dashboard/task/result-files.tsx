import { useState } from "preact/hooks";

import { Icon } from "../icons.tsx";
import { keep } from "../keep.ts";
import { session } from "../store.ts";
import { explain } from "../submit.ts";
import { size } from "../words.ts";

interface ResultFile {
  path: string;
  size: number;
  sha256: string;
}

/** What a result lists as its files; an agent may call anything so. */
export function resultFiles(result: { [key: string]: unknown } | null): ResultFile[] {
  const files = result?.files;
  if (!Array.isArray(files)) return [];
  return files.filter(
    (file): file is ResultFile => typeof file?.path === "string" && typeof file.sha256 === "string",
  );
}

/** Files are fetched with the page's token and handed to the browser to keep: nothing of theirs is opened here. */
export function ResultFiles({ taskId, files }: { taskId: string; files: ResultFile[] }) {
  const [error, setError] = useState<string | null>(null);
  const save = async (name: string, answer: Promise<Response>) => {
    try {
      keep(name, await (await answer).blob());
      setError(null);
    } catch (failure) {
      setError(explain(failure));
    }
  };
  const task = session.task(taskId);
  if (files.length === 0) {
    return (
      <p class="empty">
        It has given no files back. A task names those it wants to keep in <code>collect</code>.
      </p>
    );
  }
  return (
    <>
      {error !== null && (
        <p role="alert" class="error-text">
          {error}
        </p>
      )}
      <p class="file-bar">
        <span class="hint">
          {count(files.length)}, {size(files.reduce((sum, file) => sum + file.size, 0))}
        </span>
        <button type="button" onClick={() => void save(`${taskId}.tar`, task.downloadAll())}>
          Download all (tar)
        </button>
      </p>
      <ul class="file-list">
        {files.map(({ path, size: bytes, sha256 }) => (
          <li key={path}>
            <Icon name="file" />
            <code class="clip">{path}</code>
            <span class="hint">{size(bytes)}</span>
            <code class="hint sha" title={`SHA-256 ${sha256}`}>
              {sha256.slice(0, 12)}
            </code>
            <button
              type="button"
              class="small"
              aria-label={`Download ${path}`}
              onClick={() => void save(path.split("/").at(-1) ?? "file", task.download(path))}
            >
              Download
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

function count(files: number): string {
  return files === 1 ? "1 file" : `${files.toLocaleString("en")} files`;
}
