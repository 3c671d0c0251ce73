/** Which tasks a list shows, as its address says. */

import type { TaskStatus } from "../../client/index.ts";
import type { Filter, KnownTask } from "../store.ts";
import { nameOf } from "../task-name.ts";

export const STATUSES: TaskStatus[] = ["running", "pending", "paused", "completed", "failed", "cancelled"];

export interface Wanted {
  /** What the gateway is asked for. */
  filter: Filter;
  /** In the name, the id, the agent or a label. */
  words: string[];
}

export function wantedOf(query: URLSearchParams): Wanted {
  const status = STATUSES.find((known) => known === query.get("status"));
  const agent = query.get("agent");
  const label = query.get("label");
  return {
    filter: {
      ...(status === undefined ? {} : { status }),
      ...(agent === null ? {} : { agent }),
      ...(label?.includes("=") ? { label } : {}),
    },
    words: (query.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean),
  };
}

export function fits(task: KnownTask, { filter, words }: Wanted): boolean {
  if (filter.status && task.status !== filter.status) return false;
  if (filter.agent && task.agent !== filter.agent) return false;
  if (filter.label && !hasLabel(task, filter.label)) return false;
  if (words.length === 0) return true;
  const text = textOf(task);
  return words.every((word) => text.includes(word));
}

const texts = new WeakMap<KnownTask, string>();

/** What is searched in; made once for each state of a task, since each key that is typed searches them all. */
function textOf(task: KnownTask): string {
  const known = texts.get(task);
  if (known !== undefined) return known;
  const text = [nameOf(task), task.task_id, task.agent, ...Object.entries(task.labels).flat()]
    .join(" ")
    .toLowerCase();
  texts.set(task, text);
  return text;
}

function hasLabel(task: KnownTask, label: string): boolean {
  const at = label.indexOf("=");
  return task.labels[label.slice(0, at)] === label.slice(at + 1);
}
