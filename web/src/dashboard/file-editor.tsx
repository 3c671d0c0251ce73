import { useState } from "preact/hooks";

import type { FileEntry } from "./file-entry.ts";
import { dropped, MAX_TOTAL_BYTES, picked, type ReadResult, TooManyBytes } from "./files.ts";
import { size } from "./words.ts";

interface Props {
  files: FileEntry[];
  onChange: (files: FileEntry[]) => void;
  onError: (message: string | null) => void;
}

/** The task's files: written here, picked, or dropped with their folder. */
export function FileEditor({ files, onChange, onError }: Props) {
  const [selected, setSelected] = useState(0);
  const [note, setNote] = useState<string | null>(null);
  const [isOver, setOver] = useState(false);

  const take = async (reading: Promise<ReadResult>) => {
    try {
      const { files: read, skipped } = await reading;
      const paths = new Set(read.map((file) => file.path));
      onChange([...files.filter((file) => !paths.has(file.path)), ...read]);
      setNote(skipped.length === 0 ? null : `Left out: ${skipped.join(", ")}`);
      onError(null);
    } catch (error) {
      const limit = `more than ${size(MAX_TOTAL_BYTES)} can't be sent from here; use gateway submit`;
      onError(error instanceof TooManyBytes ? `Too much: ${limit}.` : `Can't read that: ${error}`);
    }
  };
  const add = () => {
    onChange([...files, { path: freeName(files), content: "", bytes: 0 }]);
    setSelected(files.length);
  };
  const remove = (index: number) => {
    onChange(files.filter((_, other) => other !== index));
    setSelected(0);
  };
  const current = files[selected];

  return (
    <fieldset
      class={isOver ? "files over" : "files"}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        if (event.dataTransfer !== null) void take(dropped(event.dataTransfer.items));
      }}
    >
      <legend>Files</legend>
      <div class="file-tools">
        <span class="hint">
          {files.length === 0 ? "Drop a folder here, or" : `${files.length} in all, ${size(total(files))}`}
        </span>
        <button type="button" class="small" onClick={add}>
          Add a file
        </button>
        <Picker label="Choose files" isFolder={false} onPick={(list) => void take(picked(list))} />
        <Picker label="Choose a folder" isFolder={true} onPick={(list) => void take(picked(list))} />
      </div>
      {files.length > 0 && (
        <ul class="file-tabs" aria-label="Files of the task">
          {files.map((file, index) => (
            <li key={file.path} class={index === selected ? "file-tab selected" : "file-tab"}>
              <button type="button" aria-pressed={index === selected} onClick={() => setSelected(index)}>
                {file.path}
              </button>
              <button type="button" aria-label={`Remove ${file.path}`} onClick={() => remove(index)}>
                ×
              </button>
            </li>
          ))}
        </ul>
      )}
      {current !== undefined && (
        <Editor
          file={current}
          onChange={(file) => onChange(files.map((other, index) => (index === selected ? file : other)))}
        />
      )}
      {note !== null && <p class="hint">{note}</p>}
    </fieldset>
  );
}

function Editor({ file, onChange }: { file: FileEntry; onChange: (file: FileEntry) => void }) {
  const { content } = file;
  return (
    <div class="editor">
      <label for="file-path">Path</label>
      <input
        id="file-path"
        class="code"
        value={file.path}
        spellcheck={false}
        autocapitalize="off"
        onChange={(event) => onChange({ ...file, path: event.currentTarget.value.trim() })}
      />
      <label for="file-content">Content</label>
      {typeof content === "string" ? (
        <textarea
          id="file-content"
          class="code"
          rows={8}
          value={content}
          spellcheck={false}
          autocapitalize="off"
          onInput={(event) => {
            const text = event.currentTarget.value;
            onChange({ ...file, content: text, bytes: new TextEncoder().encode(text).length });
          }}
        />
      ) : (
        <p id="file-content" class="hint">
          {size(file.bytes)} of binary data
        </p>
      )}
    </div>
  );
}

interface PickerProps {
  label: string;
  isFolder: boolean;
  onPick: (list: FileList) => void;
}

function Picker({ label, isFolder, onPick }: PickerProps) {
  return (
    <label class="button small picker">
      {label}
      <input
        type="file"
        multiple
        {...(isFolder ? { webkitdirectory: true } : {})}
        onChange={(event) => {
          const { files } = event.currentTarget;
          if (files !== null && files.length > 0) onPick(files);
          // So that picking the same again is a change again.
          event.currentTarget.value = "";
        }}
      />
    </label>
  );
}

function freeName(files: FileEntry[]): string {
  const taken = new Set(files.map((file) => file.path));
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? "file.txt" : `file-${number}.txt`;
    if (!taken.has(name)) return name;
  }
}

function total(files: FileEntry[]): number {
  return files.reduce((sum, file) => sum + file.bytes, 0);
}
