/** Files on their way into a task: read from a drop or a picker, text where they are text, base64 where not. */

import type { FileContent } from "../client/index.ts";
import type { FileEntry } from "./file-entry.ts";

export interface ReadResult {
  files: FileEntry[];
  /** Folders left out, by name. */
  skipped: string[];
}

/** What a build or a version control keeps beside the work; a task that wants it makes it again. */
const SKIPPED_FOLDERS = new Set([
  ".git",
  ".hg",
  ".svn",
  "node_modules",
  "__pycache__",
  ".venv",
  ".mypy_cache",
]);
/** The gateway takes 32 MiB of JSON, and base64 makes three bytes four. */
export const MAX_TOTAL_BYTES = 20 * 1024 * 1024;

export class TooManyBytes extends Error {}

/** Must be called before the drop event's handler first awaits: the browser empties the list then. */
export function dropped(items: DataTransferItemList): Promise<ReadResult> {
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  return readEntries(entries);
}

/** Reads what a file picker gave; a picked folder's own name is no part of the paths. */
export async function picked(list: FileList): Promise<ReadResult> {
  const found: Found = { files: [], skipped: new Set() };
  for (const file of list) {
    const folders = file.webkitRelativePath.split("/").slice(1, -1);
    const skipped = folders.find((folder) => SKIPPED_FOLDERS.has(folder));
    if (skipped !== undefined) found.skipped.add(skipped);
    else found.files.push({ path: [...folders, file.name].join("/"), file });
  }
  return readAll(found);
}

interface Found {
  files: { path: string; file: File }[];
  skipped: Set<string>;
}

async function readEntries(entries: FileSystemEntry[]): Promise<ReadResult> {
  const found: Found = { files: [], skipped: new Set() };
  // One folder alone is the task's own folder; several things keep their names.
  const [only] = entries;
  const isOneFolder = entries.length === 1 && only?.isDirectory === true;
  const roots = isOneFolder ? await children(only as FileSystemDirectoryEntry) : entries;
  for (const entry of roots) await walk(entry, "", found);
  return readAll(found);
}

async function walk(entry: FileSystemEntry, folder: string, found: Found): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject),
    );
    found.files.push({ path: folder + entry.name, file });
  } else if (SKIPPED_FOLDERS.has(entry.name)) found.skipped.add(entry.name);
  else {
    for (const child of await children(entry as FileSystemDirectoryEntry)) {
      await walk(child, `${folder}${entry.name}/`, found);
    }
  }
}

async function children(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  // A reader gives a hundred at a time, and nothing when it is done.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (some.length === 0) return all;
    all.push(...some);
  }
}

async function readAll(found: Found): Promise<ReadResult> {
  const bytes = found.files.reduce((sum, { file }) => sum + file.size, 0);
  if (bytes > MAX_TOTAL_BYTES) throw new TooManyBytes();
  const files: FileEntry[] = [];
  for (const { path, file } of found.files) {
    files.push({ path, content: decode(new Uint8Array(await file.arrayBuffer())), bytes: file.size });
  }
  return { files, skipped: [...found.skipped].sort() };
}

function decode(bytes: Uint8Array): FileContent {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    let binary = "";
    for (let at = 0; at < bytes.length; at += 8_192) {
      binary += String.fromCharCode(...bytes.subarray(at, at + 8_192));
    }
    return { base64: btoa(binary) };
  }
}
