/**
 * The wire's types: what `gateway.v1` sends and takes, one JSON object per text frame.
 * Names are the contract's. Times are RFC 3339 UTC strings with milliseconds.
 */

export const PROTOCOL = "gateway.v1";

export type TaskStatus = "pending" | "running" | "paused" | "completed" | "failed" | "cancelled";
export type Desire = "run" | "pause" | "cancel";
export type Mode = "blocking" | "streaming" | "background";
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export const TERMINAL: ReadonlySet<TaskStatus> = new Set<TaskStatus>(["completed", "failed", "cancelled"]);

export interface TaskError {
  code: string;
  message: string;
  /** Lists of tasks come without it. */
  details?: { [key: string]: Json } | null;
}

/** What a sandbox hands back for a task of agent `sandbox`. */
export interface SandboxResult {
  status: string;
  exit_code: number | null;
  url: string | null;
  commands: CommandResult[];
  files: { path: string; size: number; sha256: string }[];
}

export interface CommandResult {
  command: string;
  exit_code: number | null;
  reason: string;
  duration_ms: number;
  stdout: string;
  stderr: string;
  truncated: boolean;
}

export interface Task {
  task_id: string;
  agent: string;
  status: TaskStatus;
  /** What was asked for; differs from `status` until it has taken effect. */
  desire: Desire;
  mode: Mode;
  session_id?: string | null;
  workflow_id: string;
  subject: string;
  labels: { [key: string]: string };
  priority: number;
  attempt: number;
  max_attempts: number;
  timeout_s: number;
  created_at: string;
  updated_at: string;
  started_at: string | null;
  ended_at: string | null;
  progress: number | null;
  waiting_for: { key: string; prompt: string; schema: Json } | null;
  last_seq: number;
  /** Lists of tasks come without it. */
  result?: Json;
  error: TaskError | null;
  instance: string | null;
  sandbox_id: string | null;
}

export interface EventData {
  status: {
    status: TaskStatus;
    previous: TaskStatus | null;
    attempt: number;
    reason?: string;
    by?: string;
    result?: Json;
    error?: TaskError;
  };
  progress: { phase?: string; status?: string; progress: number | null; [key: string]: Json | undefined };
  output: { stream: "stdout" | "stderr"; text: string; command: number };
  output_gap: { stream: "stdout" | "stderr"; dropped_bytes: number | null; reason: string };
  /** A command's start has neither exit code nor reason. */
  command: { index: number; command: string; exit_code: number | null; reason?: string };
  checkpoint: { checkpoint_id: string; step_name: string; agent_name: string | null };
  server_ready: { port: number; url: string | null; scope: "gateway" | "browser" };
  input_requested: { key: string; prompt: string; schema?: Json };
  input_given: { key: string };
  log: { level: string; message: string };
}

export type EventName = keyof EventData;

/** One numbered fact of a task; `seq` counts 1, 2, 3 … across attempts, instances and restarts. */
export type TaskEvent = {
  [Name in EventName]: {
    type: "event";
    task_id: string;
    seq: number;
    event: Name;
    time: string;
    data: EventData[Name];
  };
}[EventName];

export interface Welcome {
  type: "welcome";
  protocol: string;
  session_id: string;
  instance: string;
  time: string;
  heartbeat_ms: number;
  limits: {
    max_frame_bytes: number;
    max_input_bytes: number;
    max_inflight: number;
    max_subscriptions: number;
  };
  agents: string[];
  subject: string;
  expires_at: string | null;
}

export interface ResultFrame {
  type: "result";
  id: string;
  result: unknown;
}

export interface ErrorFrame {
  type: "error";
  id: string | null;
  code: string;
  message: string;
  retryable: boolean;
  details?: { [key: string]: Json };
}

export interface Goodbye {
  type: "goodbye";
  code: number;
  reason: string;
  reconnect: boolean;
  reconnect_in_ms: number | null;
}

/** A change of what is watched: one item's newest state, or after any doubt all of them (`reset`). */
export type Update = { type: "update"; topic: "tasks" } & (
  | { item: Task & { removed?: boolean } }
  | { items: Task[]; reset: true }
);

export type ServerFrame = Welcome | ResultFrame | ErrorFrame | TaskEvent | Update | Goodbye;

export type InputFile = string | { base64: string };

export interface SandboxInput {
  files?: { [path: string]: InputFile };
  commands: string[];
}

export interface SubmitParams {
  agent?: string;
  input?: SandboxInput | { [key: string]: Json };
  mode?: Mode;
  idempotency_key?: string;
  timeout_s?: number;
  labels?: { [key: string]: string };
  max_attempts?: number;
  priority?: number;
}

export interface ListParams {
  status?: TaskStatus;
  agent?: string;
  limit?: number;
  cursor?: string;
}

interface TaskRef {
  task_id: string;
}

/** Each request of the socket: what it carries beside `type` and `id`, and what its answer holds. */
export interface Requests {
  submit_task: { params: SubmitParams; result: { task: Task; replayed: boolean } };
  subscribe: {
    params: TaskRef & { after_seq?: number };
    result: { task: Task; recovered: boolean; first_seq: number };
  };
  unsubscribe: { params: TaskRef; result: Record<string, never> };
  cancel_task: { params: TaskRef & { reason?: string }; result: { task: Task } };
  get_task: { params: TaskRef & { include_input?: boolean }; result: { task: Task } };
  list_tasks: { params: ListParams; result: { tasks: Task[]; cursor: string | null } };
  watch: { params: { topic: "tasks" }; result: { items: Task[] } };
  unwatch: { params: { topic: "tasks" }; result: Record<string, never> };
  authenticate: { params: { token: string }; result: { subject: string; expires_at: string | null } };
  ping: { params: Record<string, never>; result: { time: string } };
}

export type RequestType = keyof Requests;
export type Params<T extends RequestType> = Requests[T]["params"];
export type Result<T extends RequestType> = Requests[T]["result"];
