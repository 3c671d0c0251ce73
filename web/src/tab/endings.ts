/** How a task, or one command of it, came to its end, and the last frame of a session. */

import type { Collected } from "./collect.ts";
import type { EndReason, Said } from "./frames.ts";
import type { StopReason } from "./stop.ts";

/** `code` null is a good end. An exit code is what the runtime's kernel reported; where it did not, null. */
export interface Ending {
  code: string | null;
  exitCode: number | null;
  reason: EndReason | null;
  words: string;
}

/** What runs in a tab is kept apart by the browser; the network is the viewer's, through the vendor's servers. */
export const ISOLATION = {
  tier: "webcontainer",
  network: true,
  limits: ["timeout_s", "idle_s", "output_bytes"],
};

const STOPS: { [reason in StopReason]: [code: string, words: string] } = {
  timeout: ["timeout", "the task took too long"],
  idle: ["timeout", "the task was idle for too long"],
  cancelled: ["cancelled", "cancelled"],
};

export function good(exitCode: number | null, reason: EndReason | null): Ending {
  return { code: null, exitCode, reason, words: "" };
}

export function failed(code: string, words: string, reason: EndReason | null = null): Ending {
  return { code, exitCode: null, reason, words };
}

export function exited(exitCode: number): Ending {
  if (exitCode === 0) return good(0, "exit");
  return {
    code: "command_failed",
    exitCode,
    reason: "exit",
    words: `the command failed with exit code ${exitCode}`,
  };
}

export function stopped(reason: StopReason): Ending {
  const [code, words] = STOPS[reason];
  return { code, exitCode: null, reason, words };
}

export function errorFrame(words: string, code: string, reason: EndReason | null = null): Said {
  return { type: "task_error", error: words, error_info: { code, exit_code: null, reason, result: null } };
}

export interface Outcome {
  commands: object[];
  url: string | null;
  files: Collected[];
  filesLeftOut: number | null;
}

export function endFrame(ending: Ending, outcome: Outcome): Said {
  const { code, exitCode, reason, words } = ending;
  const result = {
    status: code === null ? "completed" : code === "cancelled" ? "cancelled" : "failed",
    exit_code: exitCode,
    url: outcome.url,
    commands: outcome.commands,
    ...listed(outcome),
    isolation: ISOLATION,
  };
  if (code === null) return { type: "task_completed", result };
  return { type: "task_error", error: words, error_info: { code, exit_code: exitCode, reason, result } };
}

const MAX_LIST_BYTES = 256 << 10;

/** As many of the files as there is room for. */
function listed({ files, filesLeftOut }: Outcome): object {
  let left = MAX_LIST_BYTES;
  const fitting = files.filter((file) => {
    left -= JSON.stringify(file).length * 3;
    return left >= 0;
  });
  return {
    files: fitting,
    ...(fitting.length < files.length ? { truncated: true } : {}),
    ...(filesLeftOut === 0 ? {} : { files_left_out: filesLeftOut }),
  };
}
