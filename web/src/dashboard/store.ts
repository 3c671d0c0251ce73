/** The one session of the page and what it knows, as signals. */

import { computed, signal } from "@preact/signals";

import {
  GatewaySession,
  type ListedTask,
  type Params,
  type SessionState,
  type Task,
  type WatchUpdate,
  type Welcome,
} from "../client/index.ts";
import { guestUntil, storedToken, subject } from "./identity.ts";
import { traffic } from "./traffic.ts";

/** Lists have a task without its result. */
export type KnownTask = ListedTask & Partial<Task>;
/** What is asked of the gateway when a list is narrowed. */
export type Filter = Pick<Params<"list_tasks">, "status" | "agent" | "label">;

/** Beyond these the oldest leave the list; they stay reachable by their address. */
const MAX_TASKS = 20_000;
const PAGE = 100;

const tasksById = signal<ReadonlyMap<string, KnownTask>>(new Map());
export const connection = signal<SessionState>({ phase: "connecting", recovery: null });
export const welcome = signal<Welcome | null>(null);
/** By filter: where its next older page begins, null behind its last; not there until its first has come. */
export const cursors = signal<ReadonlyMap<string, string | null>>(new Map());
export const listError = signal<string | null>(null);
/** The server's clock in milliseconds since 1970, ticking each second. */
export const now = signal(Date.now());

export const tasks = computed(() => newestFirst(tasksById.value));

let serverAheadMs = 0;
let changed = new Map(tasksById.peek());
let isUpdateDue = false;

export const session = new GatewaySession({
  url: location.origin,
  token: storedToken,
  newId: newKey,
  onStateChange: (state) => {
    connection.value = state;
  },
  onWelcome: (frame) => {
    welcome.value = frame;
    subject.value = frame.subject;
    serverAheadMs = Date.parse(frame.time) - Date.now();
    tick();
    cursors.value = new Map();
  },
  onTraffic: (frame, way) => traffic.push(frame, way),
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
  // Whoever came by a link is shown what it is for, and no list.
  if (guestUntil.value === null) session.watch("tasks", takeUpdate);
  session.connect();
}

function takeUpdate(update: WatchUpdate<"tasks">): void {
  if ("items" in update) dropMissing(update.items);
  for (const task of "items" in update ? update.items : [update.item]) mergeTask(task);
}

/** The newest tasks are told whole: one that is newer than the last of them, and not among them, is gone. */
function dropMissing(newest: ListedTask[]): void {
  const oldest = newest.at(-1)?.task_id ?? "";
  const there = new Set(newest.map((task) => task.task_id));
  for (const id of [...changed.keys()]) if (id > oldest && !there.has(id)) changed.delete(id);
}

export function taskById(taskId: string): KnownTask | undefined {
  return tasksById.value.get(taskId);
}

/** Takes a task's state in, unless a newer one is here already. */
export function mergeTask(task: KnownTask & { removed?: boolean }): void {
  const known = changed.get(task.task_id);
  if (task.removed) changed.delete(task.task_id);
  else if (known === undefined) changed.set(task.task_id, task);
  // What only a whole task has stays: its input never changes.
  else if (!isOlder(task, known)) changed.set(task.task_id, { ...known, ...task });
  if (isUpdateDue) return;
  isUpdateDue = true;
  // A hundred updates a second are still one drawing of the list.
  setTimeout(showChanges, 50);
}

export function filterKey(filter: Filter): string {
  return JSON.stringify([filter.status, filter.agent, filter.label]);
}

/** The first page of a list, or the next older one. Asking twice at once asks once. */
export async function loadTasks(filter: Filter): Promise<void> {
  const key = filterKey(filter);
  const cursor = cursors.value.get(key);
  if (cursor === null || loading.has(key)) return;
  loading.add(key);
  try {
    const page = await session.list({ ...filter, limit: PAGE, ...(cursor === undefined ? {} : { cursor }) });
    for (const task of page.tasks) mergeTask(task);
    cursors.value = new Map(cursors.value).set(key, page.cursor);
    listError.value = null;
  } catch (error) {
    listError.value = (error as Error).message;
  } finally {
    loading.delete(key);
  }
}

const loading = new Set<string>();

function showChanges(): void {
  isUpdateDue = false;
  if (changed.size > MAX_TASKS) {
    changed = new Map(
      newestFirst(changed)
        .slice(0, MAX_TASKS)
        .map((task) => [task.task_id, task]),
    );
  }
  tasksById.value = new Map(changed);
}

/** A task's id tells when it was made, to the millisecond and beyond. */
function newestFirst(known: ReadonlyMap<string, KnownTask>): KnownTask[] {
  return [...known.values()].sort((a, b) => (a.task_id < b.task_id ? 1 : -1));
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
