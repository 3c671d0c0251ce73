/** The files of a task: those sent ahead of it piece by piece, and those that come with it, as a tree to mount. */

import type { DirectoryNode, FileSystemTree } from "@webcontainer/api";

import type { FileChunk, FileContent } from "./frames.ts";

/** What a tab takes of one task: it is all in memory, more than once. */
export const MAX_FILES_BYTES = 64 << 20;
const STAGED_MS = 60_000;

/** The task can't be taken as it is; the text says why, to its sender. */
export class BadInput extends Error {}

export function bytesOf(content: FileContent): Uint8Array | string {
  return typeof content === "string" ? content : fromBase64(content.base64);
}

/** @throws BadInput */
export function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    throw new BadInput("files: not base64");
  }
}

/** In steps: a call takes only so many arguments. */
export function toBase64(data: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < data.length; at += 8192)
    binary += String.fromCharCode(...data.subarray(at, at + 8192));
  return btoa(binary);
}

/** What one session has sent ahead. A piece that can't be right is told of when the task comes. */
class Staged {
  #files = new Map<string, Uint8Array[]>();
  #sizes = new Map<string, number>();
  #open: string | null = null;
  #total = 0;
  #problem: string | null = null;

  add({ path, offset, base64, last }: FileChunk): void {
    if (this.#problem !== null) return;
    const data = fromBase64(base64);
    this.#total += data.length;
    if (this.#open === null && !this.#files.has(path)) this.#files.set(path, []);
    const size = this.#sizes.get(path) ?? 0;
    if ((this.#open ?? path) !== path || offset !== size) this.#fail(`files: ${path}: a piece out of order`);
    else if (this.#total > MAX_FILES_BYTES)
      this.#fail(`files: more than the ${MAX_FILES_BYTES} bytes that a tab takes`);
    else this.#files.get(path)?.push(data);
    this.#sizes.set(path, size + data.length);
    this.#open = last ? null : path;
  }

  #fail(problem: string): void {
    this.#problem = problem;
    this.#files.clear();
  }

  /** The files, whole. @throws BadInput */
  whole(): Map<string, Uint8Array> {
    if (this.#problem !== null) throw new BadInput(this.#problem);
    if (this.#open !== null) throw new BadInput(`files: ${this.#open}: its last piece is missing`);
    return new Map([...this.#files].map(([path, parts]) => [path, joined(parts)]));
  }
}

/** By session, each for a minute after its last piece. */
export class Stagings {
  #staged = new Map<string, { files: Staged; timer: ReturnType<typeof setTimeout> }>();

  add(chunk: FileChunk): void {
    const known = this.#staged.get(chunk.session_id);
    clearTimeout(known?.timer);
    const files = known?.files ?? new Staged();
    files.add(chunk);
    const timer = setTimeout(() => this.#staged.delete(chunk.session_id), STAGED_MS);
    this.#staged.set(chunk.session_id, { files, timer });
  }

  has(sessionId: string): boolean {
    return this.#staged.has(sessionId);
  }

  take(sessionId: string): Staged | null {
    const found = this.#staged.get(sessionId);
    clearTimeout(found?.timer);
    this.#staged.delete(sessionId);
    return found?.files ?? null;
  }

  clear(): void {
    for (const sessionId of [...this.#staged.keys()]) this.take(sessionId);
  }
}

export type { Staged };

/** A tree of the files at their paths. @throws BadInput */
export function treeOf(files: Iterable<[string, Uint8Array | string]>): FileSystemTree {
  const root: FileSystemTree = Object.create(null);
  for (const [path, contents] of files) {
    const names = path.split("/");
    // The library copies the tree into plain objects, where this name is not a key.
    if (names.includes("__proto__"))
      throw new BadInput(`files: ${path}: a tab can't have a file of that name`);
    const name = names.pop() as string;
    folderAt(root, names)[name] = { file: { contents } };
  }
  return root;
}

function folderAt(root: FileSystemTree, names: string[]): FileSystemTree {
  let folder = root;
  for (const name of names) {
    folder[name] ??= { directory: Object.create(null) };
    folder = (folder[name] as DirectoryNode).directory;
  }
  return folder;
}

function joined(parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
