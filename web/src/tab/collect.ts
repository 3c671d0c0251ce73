/** The files that a task gives back: found by their names when it has ended, read and sent one after another. */

import type { Channel } from "./channel.ts";
import { toBase64 } from "./files.ts";
import { inTime, type Runtime } from "./runtime.ts";
import type { Stop } from "./stop.ts";

const MAX_FILES = 10_000;
const MAX_ENTRIES = 100_000;
/** Half of the window, so that there is always one more on its way. */
const PIECE_BYTES = 72 << 10;

export interface Collected {
  path: string;
  size: number;
  sha256: string;
}

/** What the paths of files are held against. @throws SyntaxError */
export function matcher(globs: string[]): RegExp {
  return new RegExp(`^(?:${globs.map((glob) => `(?:${expression(glob)})`).join("|")})$`, "su");
}

function expression(glob: string): string {
  const segments = glob.split("/");
  const parts = segments.map((segment, index) => {
    const isLast = index === segments.length - 1;
    if (segment === "**") return isLast ? ".+" : "(?:[^/]+/)*";
    return segmentExpression(segment) + (isLast ? "" : "/");
  });
  return parts.join("");
}

/** `*` and `?` are of one segment, `[..]` and `[!..]` stand for one character. */
function segmentExpression(segment: string): string {
  return segment.replace(
    /\[(!?)([^\]]+)\]|[*?]|[^*?]/gsu,
    (part, negation: string | undefined, inner?: string) => {
      if (inner !== undefined)
        return `(?!/)[${negation === "!" ? "^" : ""}${inner.replace(/[\\[^]/g, "\\$&")}]`;
      if (part === "*") return "[^/]*";
      if (part === "?") return "[^/]";
      return part.replace(/[\\^$.|?*+()[\]{}/]/g, "\\$&");
    },
  );
}

export class Collection {
  /** Those that have been sent whole. */
  readonly files: Collected[] = [];
  /** How many match and were not sent; null where it was cut short. */
  leftOut: number | null = null;
  readonly #runtime: Runtime;
  readonly #folder: string;
  readonly #channel: Channel;

  constructor(runtime: Runtime, folder: string, channel: Channel) {
    this.#runtime = runtime;
    this.#folder = folder;
    this.#channel = channel;
  }

  /** Sends what matches, `maxBytes` at most, waiting for credit, until it is told to stop. */
  async send(wanted: RegExp, maxBytes: number, stop: Stop): Promise<void> {
    const paths = (await this.#walk()).filter((path) => wanted.test(path));
    let left = maxBytes;
    let leftOut = Math.max(0, paths.length - MAX_FILES);
    for (const path of paths.slice(0, MAX_FILES)) {
      const data = await this.#read(path);
      if (stop.reason !== null) return;
      if (data === null || data.length > left) leftOut += 1;
      else {
        left -= data.length;
        if (!(await this.#sendFile(path, data, stop))) return;
      }
    }
    this.leftOut = leftOut;
  }

  /** All files below the folder, by name; links are neither. */
  async #walk(): Promise<string[]> {
    const found: string[] = [];
    const folders = [""];
    let lookedAt = 0;
    for (let folder = folders.pop(); folder !== undefined && lookedAt < MAX_ENTRIES; folder = folders.pop()) {
      const entries = await inTime(
        this.#runtime.fs.readdir(`${this.#folder}/${folder}`, { withFileTypes: true }),
      );
      lookedAt += entries.length;
      for (const entry of entries) {
        if (entry.isDirectory()) folders.push(`${folder}${entry.name}/`);
        else if (entry.isFile()) found.push(`${folder}${entry.name}`);
      }
    }
    return found.sort();
  }

  async #read(path: string): Promise<Uint8Array<ArrayBuffer> | null> {
    try {
      return new Uint8Array(await inTime(this.#runtime.fs.readFile(`${this.#folder}/${path}`)));
    } catch {
      return null; // gone meanwhile, or a link to nowhere
    }
  }

  async #sendFile(path: string, data: Uint8Array<ArrayBuffer>, stop: Stop): Promise<boolean> {
    let offset = 0;
    do {
      await Promise.race([this.#channel.untilRoom(), stop.told]);
      if (stop.reason !== null) return false;
      // Four characters of credit carry three bytes.
      const most = Math.max(3, Math.min(PIECE_BYTES, Math.floor(this.#channel.room / 4) * 3));
      const base64 = toBase64(data.subarray(offset, offset + most));
      const last = offset + most >= data.length;
      this.#channel.send({ type: "file_chunk", path, offset, base64, last }, base64.length);
      offset += most;
    } while (offset < data.length);
    this.files.push({ path, size: data.length, sha256: await sha256(data) });
    return true;
  }
}

async function sha256(data: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
