/** The generated types under the names that code goes by, and what the gateway hands on without a type of its own. */

import type {
  ErrorFrame,
  Goodbye,
  InputFile,
  Instance,
  ListedTask,
  Sandbox,
  Task,
  Update,
  Welcome,
  Wire,
} from "./protocol.ts";

export type * from "./protocol.ts";

export const PROTOCOL = "gateway.v1";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type TaskStatus = Task["status"];
export type Mode = Task["mode"];

export const TERMINAL: ReadonlySet<TaskStatus> = new Set<TaskStatus>(["completed", "failed", "cancelled"]);

/** One numbered fact of a task; `seq` counts 1, 2, 3 … across attempts, instances and restarts. */
export type TaskEvent = Wire["TaskEvent"];
export type EventName = TaskEvent["event"];
export type EventOf<Name extends EventName> = Extract<TaskEvent, { event: Name }>;
export type EventData = { [Name in EventName]: EventOf<Name>["data"] };

export interface ResultFrame {
  type: "result";
  id: string;
  result: unknown;
}
export type ServerFrame = Welcome | ResultFrame | ErrorFrame | TaskEvent | Update | Goodbye;

type Requests = Wire["Requests"];
export type RequestType = keyof Requests;
type Without<Frame> = Frame extends unknown ? Omit<Frame, "type" | "id"> : never;
/** What a request carries beside `type` and `id`. */
export type Params<T extends RequestType> = Without<Requests[T]["asks"]>;
export type Result<T extends RequestType> = Requests[T]["result"];
export type SubmitParams = Params<"submit_task">;

/** A file of a task: its text, or its bytes. */
export type FileContent = string | InputFile;

/** What can be watched, and what its items are; one that went is `removed`. */
export interface Topics {
  tasks: ListedTask;
  sandboxes: Sandbox;
  /** For an admin. */
  instances: Instance;
}
export type Topic = keyof Topics;

/** What a sandbox hands back for a task of agent `sandbox`. */
export interface SandboxResult {
  status: string;
  exit_code: number | null;
  url: string | null;
  commands: CommandResult[];
  files: { path: string; size: number; sha256: string }[];
  isolation?: { [key: string]: Json };
  /** There where it was made on a viewer's machine, for which the gateway can't vouch. */
  trust?: "client";
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
