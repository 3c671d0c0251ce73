/** A task as it is to be run: its commands made alike, its limits settled. What a tab can't keep is refused. */

import type { FileSystemTree } from "@webcontainer/api";
import { matcher } from "./collect.ts";
import { BadInput, bytesOf, type Staged, treeOf } from "./files.ts";
import type { Command, Limits, TaskFrame } from "./frames.ts";

const DEFAULT_TIMEOUT_S = 300;
const MAX_TIMEOUT_S = 86_400;
const OUTPUT_BYTES = 64 << 20;
const COLLECT_BYTES = 64 << 20;
/** Nobody holds these in a tab, and a limit that is not held must not be promised. */
const NOT_KEPT = ["cpu_s", "memory_mb", "processes", "disk_mb"] as const;

export interface Task {
  tree: FileSystemTree;
  commands: Command[];
  timeoutMs: number;
  idleMs: number | null;
  outputBytes: number;
  /** Which files it gives back. */
  wanted: RegExp | null;
  collectBytes: number;
  hasStdin: boolean;
  streams: boolean;
}

/** @throws BadInput */
export function checked(frame: TaskFrame, staged: Staged | null): Task {
  const limits = frame.limits ?? {};
  checkLimits(limits);
  const ahead: [string, Uint8Array | string][] = [...(staged?.whole() ?? [])];
  const own = Object.entries(frame.files ?? {}).map(([path, content]): [string, Uint8Array | string] => [
    path,
    bytesOf(content),
  ]);
  return {
    tree: treeOf([...own, ...ahead]),
    commands: (frame.commands ?? []).map((command) =>
      typeof command === "string" ? { sh: command } : command,
    ),
    timeoutMs: 1000 * (limits.timeout_s ?? DEFAULT_TIMEOUT_S),
    idleMs: limits.idle_s === undefined ? null : 1000 * limits.idle_s,
    outputBytes: limits.output_bytes ?? OUTPUT_BYTES,
    wanted: frame.collect === undefined ? null : wanted(frame.collect.globs),
    collectBytes: Math.min(frame.collect?.max_bytes ?? COLLECT_BYTES, COLLECT_BYTES),
    hasStdin: frame.stdin === true,
    streams: frame.type === "stream_task",
  };
}

/** @throws BadInput */
function wanted(globs: string[]): RegExp {
  try {
    return matcher(globs);
  } catch (error) {
    throw new BadInput(`collect.globs: ${(error as Error).message}`);
  }
}

function checkLimits(limits: Limits): void {
  const name = NOT_KEPT.find((limit) => limits[limit] !== undefined);
  if (name !== undefined) throw new BadInput(`limits.${name}: a browser's tab can't hold a task to that`);
  if (limits.network === "none")
    throw new BadInput("limits.network: a browser's tab can't keep a task from the network");
  if ((limits.timeout_s ?? 0) > MAX_TIMEOUT_S)
    throw new BadInput(`limits.timeout_s: more than ${MAX_TIMEOUT_S}`);
  if ((limits.output_bytes ?? 0) > OUTPUT_BYTES)
    throw new BadInput(`limits.output_bytes: more than ${OUTPUT_BYTES}`);
}
