/** The one session of the page and what it knows, as signals. */

import { computed, signal } from "@preact/signals";

import {
  GatewaySession,
  type ListedTask,
  type SessionState,
  type Task,
  type Welcome,
} from "../client/index.ts";
import { storedToken } from "./route.ts";

/** Beyond these the oldest leave the list; they stay reachable by their address. */
const MAX_TASKS = 1_000;
const PAGE = 50;

/** Lists have a task without its result. */
export type KnownTask = ListedTask & Partial<Task>;

const tasksById = signal<ReadonlyMap<string, KnownTask>>(new Map());
export const connection = signal<SessionState>({ phase: "connecting", recovery: null });
export const welcome = signal<Welcome | null>(null);
/** Null until the first page of tasks has come. */
export const cursor = signal<string | null | undefined>(undefined);
export const listError = signal<string | null>(null);
/** The server's clock in milliseconds since 1970, ticking each second. */
export const now = signal(Date.now());

export const tasks = computed(() =>
  [...tasksById.value.values()].sort((a, b) => b.created_at.localeCompare(a.created_at)),
);

let serverAheadMs = 0;
let changed = new Map(tasksById.peek());
let isUpdateDue = false;

export const session = new GatewaySession({
  url: `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/ws`,
  token: storedToken,
  newId: newKey,
  onStateChange: (state) => {
    connection.value = state;
  },
  onWelcome: (frame) => {
    welcome.value = frame;
    serverAheadMs = Date.parse(frame.time) - Date.now();
    tick();
    void loadTasks();
  },
});

/** Starts all that lives as long as the page. */
export function start(): void {
  setInterval(tick, 1_000);
  addEventListener("online", () => session.connect());
  addEventListener("offline", () => session.probe());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    if (session.state.phase === "offline") session.connect();
    session.probe();
  });
  session.watch("tasks", (update) => {
    for (const task of "items" in update ? update.items : [update.item]) mergeTask(task);
  });
  session.connect();
}

export function taskById(taskId: string): KnownTask | undefined {
  return tasksById.value.get(taskId);
}

/** Takes a task's state in, unless a newer one is here already. */
export function mergeTask(task: KnownTask & { removed?: boolean }): void {
  const known = changed.get(task.task_id);
  if (task.removed) changed.delete(task.task_id);
  else if (known === undefined || !isOlder(task, known)) changed.set(task.task_id, task);
  if (isUpdateDue) return;
  isUpdateDue = true;
  // A hundred updates a second are still one drawing of the list.
  setTimeout(showChanges, 50);
}

/** The next page of older tasks, or on a new connection the first. */
export async function loadTasks(after?: string): Promise<void> {
  try {
    const page = await session.request(
      "list_tasks",
      after === undefined ? { limit: PAGE } : { limit: PAGE, cursor: after },
    );
    for (const task of page.tasks) mergeTask(task);
    cursor.value = page.cursor;
    listError.value = null;
  } catch (error) {
    listError.value = (error as Error).message;
  }
}

function showChanges(): void {
  isUpdateDue = false;
  if (changed.size > MAX_TASKS) {
    const newest = [...changed.values()].sort((a, b) => b.created_at.localeCompare(a.created_at));
    changed = new Map(newest.slice(0, MAX_TASKS).map((task) => [task.task_id, task]));
  }
  tasksById.value = new Map(changed);
}

function isOlder(task: KnownTask, known: KnownTask): boolean {
  if (task.last_seq !== known.last_seq) return task.last_seq < known.last_seq;
  return task.updated_at < known.updated_at;
}

function tick(): void {
  now.value = Date.now() + serverAheadMs;
}

/** `crypto.randomUUID` is only there in secure contexts, and a gateway on a local network may have none. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
