import type { FileContent } from "../client/index.ts";

/** A file on its way into a task. */
export interface FileEntry {
  path: string;
  content: FileContent;
  bytes: number;
}
