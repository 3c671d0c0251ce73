/** How busy it was, told from the tasks that are known: each says itself when it waited and when it ran. */

export interface Busy {
  /** RFC 3339. */
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
}

export interface Load {
  /** Seconds since 1970, one each `stepS`. */
  times: number[];
  running: number[];
  waiting: number[];
}

/** Of the `spanS` seconds before `nowMs`. A paused task counts as running: it keeps its place. */
export function loadOf(tasks: Iterable<Busy>, nowMs: number, spanS: number, stepS: number): Load {
  const endS = Math.floor(nowMs / 1000 / stepS) * stepS;
  const count = Math.floor(spanS / stepS) + 1;
  const startS = endS - (count - 1) * stepS;
  const running = new Array<number>(count + 1).fill(0);
  const waiting = new Array<number>(count + 1).fill(0);
  const place = (time: string) =>
    Math.min(count, Math.max(0, Math.ceil((Date.parse(time) / 1000 - startS) / stepS)));
  for (const { created_at, started_at, ended_at } of tasks) {
    const end = ended_at === null ? count : place(ended_at);
    if (end === 0) continue;
    const begun = started_at === null ? end : place(started_at);
    add(waiting, place(created_at), begun);
    add(running, begun, end);
  }
  const times = Array.from({ length: count }, (_, index) => startS + index * stepS);
  return { times, running: summed(running, count), waiting: summed(waiting, count) };
}

/** One more from `from` until before `to`, as steps up and down. */
function add(steps: number[], from: number, to: number): void {
  if (from >= to) return;
  steps[from] = (steps[from] ?? 0) + 1;
  steps[to] = (steps[to] ?? 0) - 1;
}

function summed(steps: number[], count: number): number[] {
  let level = 0;
  return steps.slice(0, count).map((step) => {
    level += step;
    return level;
  });
}
