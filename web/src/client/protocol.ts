/**
 * The wire's types, made by `npm run protocol` from the gateway's own models; a test holds them to those.
 *
 * Names are the contract's. Times are RFC 3339 UTC strings with milliseconds.
 */

export interface Wire {
  Requests: {
    submit_task: {
      /**
       * Begin a task.
       */
      asks: SubmitTaskToSandbox | SubmitTaskToAgent;
      result: Submitted;
    };
    subscribe: {
      asks: Subscribe;
      result: Subscribed;
    };
    unsubscribe: {
      asks: Unsubscribe;
      result: Empty;
    };
    cancel_task: {
      asks: CancelTask;
      result: TaskAnswer;
    };
    pause_task: {
      asks: PauseTask;
      result: TaskAnswer;
    };
    resume_task: {
      asks: ResumeTask;
      result: TaskAnswer;
    };
    send_input: {
      asks: SendInput;
      result: Empty;
    };
    resize: {
      asks: Resize;
      result: Empty;
    };
    get_task: {
      asks: GetTask;
      result: TaskAnswer;
    };
    delete_task: {
      asks: DeleteTask;
      result: Empty;
    };
    list_tasks: {
      asks: ListTasks;
      result: TaskPage;
    };
    get_workflow: {
      asks: GetWorkflow;
      result: WorkflowAnswer;
    };
    list_workflows: {
      asks: ListWorkflows;
      result: WorkflowPage;
    };
    list_checkpoints: {
      asks: ListCheckpoints;
      result: CheckpointPage;
    };
    recover_workflow: {
      asks: RecoverWorkflow;
      result: Recovered;
    };
    watch: {
      asks: Watch;
      result: Watching;
    };
    unwatch: {
      asks: Unwatch;
      result: Empty;
    };
    authenticate: {
      asks: Authenticate;
      result: Renewed;
    };
    ping: {
      asks: Ping;
      result: Pong;
    };
  };
  /**
   * A numbered fact of a task's log: the same bytes for everybody, by socket, page or stream.
   */
  TaskEvent:
    | StatusEvent
    | ProgressEvent
    | OutputEvent
    | OutputGapEvent
    | CommandEvent
    | CheckpointEvent
    | ServerReadyEvent
    | InputRequestedEvent
    | InputGivenEvent
    | LogEvent;
  Welcome: Welcome;
  Update: Update;
  Goodbye: Goodbye;
  ErrorFrame: ErrorFrame;
  EventPage: EventPage;
  Files: Files;
  Agents: Agents;
  Sandboxes: Sandboxes;
  Instances: Instances;
  Whoami: Whoami;
  Shared: Shared;
  Pairing: Pairing;
  Problem: Problem;
  SandboxInput: SandboxInput;
}
/**
 * Begin a task.
 */
export interface SubmitTaskToSandbox {
  id: string;
  agent?: "sandbox";
  input?: SandboxInput;
  mode?: "blocking" | "streaming" | "background";
  idempotency_key?: string | null;
  workflow_id?: string | null;
  timeout_s?: number;
  labels?: {
    [k: string]: string;
  };
  max_attempts?: number;
  priority?: number;
  detach?: "continue" | "pause" | "cancel";
  detach_after_s?: number;
  traceparent?: string | null;
  type: "submit_task";
}
/**
 * What the agent takes: files by path, and commands that run one after another in their folder.
 */
export interface SandboxInput {
  files?: {
    [k: string]: string | InputFile;
  };
  commands?: (string | InputCommand)[];
  limits?: InputLimits | null;
  collect?: InputCollect | null;
  stdin?: boolean;
  sandbox?: WantedSandbox | null;
}
/**
 * A file that is not text.
 */
export interface InputFile {
  base64: string;
}
/**
 * A command with its circumstances: exactly one of `sh`, a shell line, and `argv`.
 */
export interface InputCommand {
  sh?: string | null;
  argv?: string[] | null;
  cwd?: string | null;
  env?: {
    [k: string]: string;
  };
  tty?: InputTty | null;
  timeout_s?: number | null;
  continue_on_error?: boolean;
}
/**
 * A terminal's size.
 */
export interface InputTty {
  cols: number;
  rows: number;
}
/**
 * What the task may use at most.
 */
export interface InputLimits {
  timeout_s?: number | null;
  idle_s?: number | null;
  cpu_s?: number | null;
  memory_mb?: number | null;
  processes?: number | null;
  disk_mb?: number | null;
  output_bytes?: number | null;
  network?: ("none" | "full") | null;
}
/**
 * Which files to bring back.
 */
export interface InputCollect {
  globs: string[];
  max_bytes?: number | null;
}
/**
 * What kind of sandbox it has to be.
 */
export interface WantedSandbox {
  runtime?: string | null;
  labels?: {
    [k: string]: string;
  };
}
/**
 * Begin a task.
 */
export interface SubmitTaskToAgent {
  id: string;
  agent: string;
  input?: {
    [k: string]: unknown;
  };
  mode?: "blocking" | "streaming" | "background";
  idempotency_key?: string | null;
  workflow_id?: string | null;
  timeout_s?: number;
  labels?: {
    [k: string]: string;
  };
  max_attempts?: number;
  priority?: number;
  detach?: "continue" | "pause" | "cancel";
  detach_after_s?: number;
  traceparent?: string | null;
  type: "submit_task";
}
/**
 * The task of a submit, `replayed` where it was there before.
 */
export interface Submitted {
  task: Task;
  replayed: boolean;
}
/**
 * A task, whole; `input` and `input_files` are there where they were asked for.
 */
export interface Task {
  task_id: string;
  agent: string;
  /**
   * What is true of a task.
   */
  status: "pending" | "running" | "paused" | "completed" | "failed" | "cancelled";
  /**
   * What was asked for.
   */
  desire: "run" | "pause" | "cancel";
  mode: "blocking" | "streaming" | "background";
  session_id: string | null;
  workflow_id: string;
  subject: string;
  labels: {
    [k: string]: string;
  };
  priority: number;
  attempt: number;
  max_attempts: number;
  timeout_s: number;
  created_at: string;
  updated_at: string;
  started_at: string | null;
  ended_at: string | null;
  progress: {
    [k: string]: unknown;
  } | null;
  waiting_for: Waiting | null;
  last_seq: number;
  error: TaskFault | null;
  instance: string | null;
  sandbox_id: string | null;
  title?: string | null;
  result: {
    [k: string]: unknown;
  } | null;
  input?: {
    [k: string]: unknown;
  };
  input_files?: TaskFile[];
}
/**
 * What a task waits to be told.
 */
export interface Waiting {
  key: string;
  prompt: string;
  schema: unknown;
}
/**
 * Why a task failed; the codes are in docs/errors.md.
 */
export interface TaskFault {
  code: string;
  message: string | null;
  details?: {
    [k: string]: unknown;
  };
}
/**
 * A file that was sent with a task, or that it gave back.
 */
export interface TaskFile {
  path: string;
  size: number;
  sha256: string;
}
/**
 * Follow a task's events after a seq.
 */
export interface Subscribe {
  id: string;
  task_id: string;
  type: "subscribe";
  after_seq?: number;
}
/**
 * Where a subscription begins: at `first_seq`, which is later than asked where `recovered` is false.
 */
export interface Subscribed {
  task: Task;
  recovered: boolean;
  first_seq: number;
}
/**
 * Follow a task no more.
 */
export interface Unsubscribe {
  id: string;
  task_id: string;
  type: "unsubscribe";
}
/**
 * Nothing more to say: it is done.
 */
export interface Empty {}
/**
 * Wish a task cancelled.
 */
export interface CancelTask {
  id: string;
  task_id: string;
  reason?: string | null;
  type: "cancel_task";
}
/**
 * One task, as it is now.
 */
export interface TaskAnswer {
  task: Task;
}
/**
 * Wish a task paused.
 */
export interface PauseTask {
  id: string;
  task_id: string;
  reason?: string | null;
  type: "pause_task";
}
/**
 * Wish that a task go on.
 */
export interface ResumeTask {
  id: string;
  task_id: string;
  reason?: string | null;
  type: "resume_task";
}
/**
 * Send a running task something.
 */
export interface SendInput {
  id: string;
  task_id: string;
  data: unknown;
  eof?: boolean;
  key?: string | null;
  type: "send_input";
}
/**
 * Tell how large a task's terminal is to be.
 */
export interface Resize {
  id: string;
  task_id: string;
  type: "resize";
  cols: number;
  rows: number;
}
/**
 * Ask for one task.
 */
export interface GetTask {
  id: string;
  task_id: string;
  type: "get_task";
  include_input?: boolean;
}
/**
 * Have an ended task forgotten.
 */
export interface DeleteTask {
  id: string;
  task_id: string;
  type: "delete_task";
}
/**
 * Ask for tasks, newest first.
 */
export interface ListTasks {
  id: string;
  status?: ("pending" | "running" | "paused" | "completed" | "failed" | "cancelled") | null;
  agent?: string | null;
  session_id?: string | null;
  workflow_id?: string | null;
  label?: string | null;
  limit?: number;
  cursor?: string | null;
  type: "list_tasks";
}
/**
 * Some tasks, newest first; `cursor` asks for those behind them, null where there are none.
 */
export interface TaskPage {
  tasks: ListedTask[];
  cursor: string | null;
}
/**
 * A task as lists have it: without its `result` and `error.details`.
 */
export interface ListedTask {
  task_id: string;
  agent: string;
  /**
   * What is true of a task.
   */
  status: "pending" | "running" | "paused" | "completed" | "failed" | "cancelled";
  /**
   * What was asked for.
   */
  desire: "run" | "pause" | "cancel";
  mode: "blocking" | "streaming" | "background";
  session_id: string | null;
  workflow_id: string;
  subject: string;
  labels: {
    [k: string]: string;
  };
  priority: number;
  attempt: number;
  max_attempts: number;
  timeout_s: number;
  created_at: string;
  updated_at: string;
  started_at: string | null;
  ended_at: string | null;
  progress: {
    [k: string]: unknown;
  } | null;
  waiting_for: Waiting | null;
  last_seq: number;
  error: TaskFault | null;
  instance: string | null;
  sandbox_id: string | null;
  title?: string | null;
}
/**
 * Ask for one workflow.
 */
export interface GetWorkflow {
  id: string;
  type: "get_workflow";
  workflow_id: string;
}
/**
 * One workflow, as it is now.
 */
export interface WorkflowAnswer {
  workflow: Workflow;
}
/**
 * A workflow; lists leave `state_data` and `agent_states` out (null) where they are large.
 */
export interface Workflow {
  workflow_id: string;
  session_id: string | null;
  subject: string;
  current_step: string;
  step_history: string[];
  state_data: {
    [k: string]: unknown;
  } | null;
  agent_states: {
    [k: string]: {
      [k: string]: unknown;
    };
  } | null;
  metadata: {
    [k: string]: unknown;
  };
  status: "active" | "paused" | "completed" | "failed" | "cancelled";
  version: number;
  forked_from: string | null;
  created_at: string;
  updated_at: string;
}
/**
 * Ask for workflows, newest first.
 */
export interface ListWorkflows {
  id: string;
  session_id?: string | null;
  status?: ("active" | "paused" | "completed" | "failed" | "cancelled") | null;
  limit?: number;
  cursor?: string | null;
  type: "list_workflows";
}
/**
 * Some workflows, newest first; `cursor` asks for those behind them, null where there are none.
 */
export interface WorkflowPage {
  workflows: Workflow[];
  cursor: string | null;
}
/**
 * Ask for a workflow's checkpoints, oldest first.
 */
export interface ListCheckpoints {
  id: string;
  limit?: number;
  cursor?: string | null;
  type: "list_checkpoints";
  workflow_id: string;
}
/**
 * Some checkpoints, oldest first; `cursor` asks for those behind them, null where there are none.
 */
export interface CheckpointPage {
  checkpoints: Checkpoint[];
  cursor: string | null;
}
/**
 * A checkpoint; `task_id` is null where no task made it, the socket's lists leave large data out (null).
 */
export interface Checkpoint {
  checkpoint_id: string;
  workflow_id: string;
  task_id: string | null;
  seq: number;
  step_name: string;
  agent_name: string | null;
  checkpoint_data: {
    [k: string]: unknown;
  } | null;
  is_recoverable: boolean;
  metadata: {
    [k: string]: unknown;
  };
  created_at: string;
}
/**
 * Have a workflow go on from a checkpoint.
 */
export interface RecoverWorkflow {
  id: string;
  checkpoint_id?: string | null;
  target_step?: string | null;
  fork?: boolean;
  state?: {
    [k: string]: unknown;
  } | null;
  type: "recover_workflow";
  workflow_id: string;
}
/**
 * A workflow that goes on, and the task that does it.
 */
export interface Recovered {
  workflow: Workflow;
  task: Task;
}
/**
 * Follow a topic's items.
 */
export interface Watch {
  id: string;
  topic: "tasks" | "sandboxes" | "instances";
  type: "watch";
}
/**
 * What there is of a topic now.
 */
export interface Watching {
  items: {
    [k: string]: unknown;
  }[];
}
/**
 * Follow a topic no more.
 */
export interface Unwatch {
  id: string;
  topic: "tasks" | "sandboxes" | "instances";
  type: "unwatch";
}
/**
 * Renew the connection's token.
 */
export interface Authenticate {
  id: string;
  type: "authenticate";
  token: string;
}
/**
 * Whom the connection's new token stands for, and until when.
 */
export interface Renewed {
  subject: string;
  expires_at: string | null;
}
/**
 * Ask for the time.
 */
export interface Ping {
  id: string;
  type: "ping";
}
/**
 * The server's time.
 */
export interface Pong {
  time: string;
}
/**
 * The task's status has changed; the last event of every task is one.
 */
export interface StatusEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "status";
  data: StatusData;
}
/**
 * A new status, who wished it and why; at the end with the `result` or the `error`.
 */
export interface StatusData {
  /**
   * What is true of a task.
   */
  status: "pending" | "running" | "paused" | "completed" | "failed" | "cancelled";
  previous: ("pending" | "running" | "paused" | "completed" | "failed" | "cancelled") | null;
  attempt: number;
  reason?: string;
  by?: string;
  result?: {
    [k: string]: unknown;
  };
  error?: TaskFault;
}
/**
 * The task has come on.
 */
export interface ProgressEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "progress";
  data: ProgressData;
}
/**
 * How far it is, in per cent where that is known, and what the agent adds.
 */
export interface ProgressData {
  phase?: unknown;
  status?: unknown;
  progress?: unknown;
}
/**
 * A command has written something.
 */
export interface OutputEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "output";
  data: OutputData;
}
/**
 * What a command wrote: at most 64 KiB of whole characters.
 */
export interface OutputData {
  stream: "stdout" | "stderr";
  text: string;
  command: number | null;
}
/**
 * Output was left out.
 */
export interface OutputGapEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "output_gap";
  data: OutputGapData;
}
/**
 * Output that is not in the log, how much of it where that is known, and why.
 */
export interface OutputGapData {
  stream: "stdout" | "stderr";
  dropped_bytes: number | null;
  reason: string;
}
/**
 * A command begins or has ended.
 */
export interface CommandEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "command";
  data: CommandData;
}
/**
 * The start of a command, which has neither exit code nor reason, or its end.
 */
export interface CommandData {
  index: number;
  command: string;
  exit_code: number | null;
  reason?: string;
}
/**
 * The agent made a checkpoint.
 */
export interface CheckpointEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "checkpoint";
  data: CheckpointData;
}
/**
 * A state that the workflow can be taken back to.
 */
export interface CheckpointData {
  checkpoint_id: string;
  step_name: string;
  agent_name: string | null;
}
/**
 * A web server of the task can be visited.
 */
export interface ServerReadyEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "server_ready";
  data: ServerReadyData;
}
/**
 * A web server of the task is up; `scope` says from where its `url` opens.
 */
export interface ServerReadyData {
  port: number | null;
  url: string | null;
  scope: "gateway" | "browser";
}
/**
 * The task asks for something.
 */
export interface InputRequestedEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "input_requested";
  data: InputRequestedData;
}
/**
 * The task waits for an input with that `key`.
 */
export interface InputRequestedData {
  key: string;
  prompt: string;
  schema?: unknown;
}
/**
 * The task was told what it had asked for.
 */
export interface InputGivenEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "input_given";
  data: InputGivenData;
}
/**
 * The input with that `key` has come.
 */
export interface InputGivenData {
  key: string;
}
/**
 * The task logs a line.
 */
export interface LogEvent {
  type: "event";
  task_id: string;
  seq: number;
  time: string;
  event: "log";
  data: LogData;
}
/**
 * A line about the task.
 */
export interface LogData {
  level: string;
  message: string;
}
/**
 * The first frame of a connection.
 */
export interface Welcome {
  type: "welcome";
  protocol: "gateway.v1";
  session_id: string;
  instance: string;
  time: string;
  heartbeat_ms: number;
  limits: ConnectionLimits;
  agents: string[];
  subject: string;
  expires_at: string | null;
}
/**
 * What one connection may do.
 */
export interface ConnectionLimits {
  max_frame_bytes: number;
  max_input_bytes: number;
  max_inflight: number;
  max_subscriptions: number;
}
/**
 * The newest state of an item of a watched topic (`removed` where it went), or after doubt of all (`reset`).
 */
export interface Update {
  type: "update";
  topic: "tasks" | "sandboxes" | "instances";
  item?: {
    [k: string]: unknown;
  };
  items?: {
    [k: string]: unknown;
  }[];
  reset?: boolean;
}
/**
 * Said before every close of the server's own.
 */
export interface Goodbye {
  type: "goodbye";
  code: number;
  reason: string;
  reconnect: boolean;
  reconnect_in_ms: number | null;
}
/**
 * The bad answer to a request; `id` is null where none could be read.
 */
export interface ErrorFrame {
  code: string;
  message: string;
  retryable: boolean;
  details?: {
    [k: string]: unknown;
  };
  type: "error";
  id: string | null;
}
/**
 * Some consecutive events, the first of which is or would be `first_seq`; `last_seq` is the log's last.
 */
export interface EventPage {
  /**
   * Items: A numbered fact of a task's log: the same bytes for everybody, by socket, page or stream.
   */
  events: (
    | StatusEvent
    | ProgressEvent
    | OutputEvent
    | OutputGapEvent
    | CommandEvent
    | CheckpointEvent
    | ServerReadyEvent
    | InputRequestedEvent
    | InputGivenEvent
    | LogEvent
  )[];
  first_seq: number;
  last_seq: number;
}
/**
 * The files that a task gave back.
 */
export interface Files {
  files: TaskFile[];
}
/**
 * The agents that tasks can be for.
 */
export interface Agents {
  agents: AgentInfo[];
}
/**
 * An agent, and what its input must be, as JSON Schema.
 */
export interface AgentInfo {
  name: string;
  input_schema: {
    [k: string]: unknown;
  };
}
/**
 * The sandboxes that the asker may see.
 */
export interface Sandboxes {
  sandboxes: Sandbox[];
}
/**
 * A sandbox, connected or away, with what it says of itself.
 */
export interface Sandbox {
  sandbox_id: string;
  instance: string;
  connected: boolean;
  problem: string | null;
  runtime: string;
  trust: "server" | "client";
  subject: string | null;
  labels: {
    [k: string]: string;
  };
  capabilities: string[];
  active: number;
  max_sessions: number;
  isolation: {
    [k: string]: unknown;
  };
}
/**
 * The processes that share a store.
 */
export interface Instances {
  instances: Instance[];
}
/**
 * A process that shares the store: a gateway, or a worker, which serves no clients.
 */
export interface Instance {
  instance: string;
  role: "gateway" | "worker";
  started_at: string;
  draining: boolean;
  agents: string[];
  running: number;
  connections: number;
}
/**
 * Whom the token stands for, and until when.
 */
export interface Whoami {
  subject: string;
  scopes: string[];
  expires_at: string | null;
  share_max_s: number | null;
}
/**
 * A token that shows one task, until then; `token_id` is its `jti`, by which it can be revoked.
 */
export interface Shared {
  token: string;
  token_id: string;
  expires_at: string;
}
/**
 * What makes a browser's tab a sandbox of yours, once: `path` is opened there, with the token in its fragment.
 */
export interface Pairing {
  token: string;
  path: string;
  expires_at: string;
}
/**
 * A refusal by HTTP, as a problem document (RFC 9457).
 */
export interface Problem {
  code: string;
  message: string;
  retryable: boolean;
  details?: {
    [k: string]: unknown;
  };
  type: string;
  title: string;
  status: number;
  detail: string;
}
