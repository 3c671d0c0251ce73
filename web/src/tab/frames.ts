/** The sandbox protocol as a tab speaks it (docs/protocol.md, section 3). What the gateway sends is trusted. */

export const PROTOCOL = "sandbox.v1";
/** Output that may be under way without having been granted, in UTF-8 bytes. */
export const WINDOW_BYTES = 256 << 10;
/** How long a session outlives its socket. */
export const RESUME_MS = 8_000;
/** Text of one frame of output, and what is kept of a command's head and tail for its record. */
export const MAX_TEXT_BYTES = 64 << 10;

export type Stream = "stdout" | "stderr";
export type EndReason = "exit" | "timeout" | "idle" | "cancelled" | "lost";
export type FileContent = string | { base64: string };

export interface Size {
  cols: number;
  rows: number;
}

export interface Command {
  sh?: string;
  argv?: string[];
  cwd?: string;
  env?: { [name: string]: string };
  tty?: Size;
  timeout_s?: number;
  continue_on_error?: boolean;
}

export interface Limits {
  timeout_s?: number;
  idle_s?: number;
  cpu_s?: number;
  memory_mb?: number;
  processes?: number;
  disk_mb?: number;
  output_bytes?: number;
  network?: "none" | "full";
}

export interface TaskFrame {
  type: "execute_task" | "stream_task";
  session_id: string;
  files?: { [path: string]: FileContent };
  commands?: (string | Command)[];
  limits?: Limits;
  collect?: { globs: string[]; max_bytes?: number };
  stdin?: boolean;
}

export interface FileChunk {
  type: "file_chunk";
  session_id: string;
  path: string;
  offset: number;
  base64: string;
  last: boolean;
}

export interface Order {
  session_id: string;
  action: "continue" | "kill";
  after_seq?: number;
}

export type ToSandbox =
  | TaskFrame
  | FileChunk
  | { type: "hello"; protocol: string; sessions?: Order[] }
  | { type: "health_check" }
  | { type: "cancel_task" | "close_session" | "pause_task" | "resume_task"; session_id: string }
  | { type: "task_input"; session_id: string; data?: string; eof?: boolean; seq?: number }
  | ({ type: "resize"; session_id: string } & Size)
  | { type: "credit"; session_id: string; bytes: number }
  | { type: "goodbye"; code: number; reason: string; reconnect_in_ms: number | null };

/** A frame of ours, without its session and its number. */
export type Said = { type: string; [field: string]: unknown };

export function commandText({ sh, argv }: Command): string {
  return sh ?? (argv ?? []).join(" ");
}
