/** The client in Node, which has a WebSocket of its own since version 22. */

import { lstat, readdir, readFile } from "node:fs/promises";
import { join, sep } from "node:path";

import { connect as anyConnect, type GatewaySession, type OpenSocket, type SessionOptions } from "./index.ts";

export * from "./index.ts";

const Socket = globalThis.WebSocket ?? (await import("ws")).WebSocket;
const openSocket: OpenSocket = (url, protocols) => new Socket(url, protocols);

/** A session that dials at once, and again after every drop. */
export function connect(options: SessionOptions): GatewaySession {
  return anyConnect({ openSocket, ...options });
}

/** The files of a folder, for `upload`, by their paths in it. Links are left out. */
export async function filesIn(folder: string): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const found: Record<string, Uint8Array<ArrayBuffer>> = {};
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    if ((await lstat(path)).isFile()) found[name.split(sep).join("/")] = new Uint8Array(await readFile(path));
  }
  return found;
}
