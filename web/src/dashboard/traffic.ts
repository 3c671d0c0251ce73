/** The newest frames of the socket, both ways, for whoever wants to see them as they are. */

import { signal } from "@preact/signals";

export interface Seen {
  id: number;
  at: number;
  way: "in" | "out";
  chars: number;
  /** The frame's beginning. */
  text: string;
  taskId: string | null;
}

const MAX_FRAMES = 400;
const SHOWN_CHARS = 4_000;
const TASK_ID = /"task_id":"([^"]{1,64})"/;

class Traffic {
  /** Counts what came, at most so often as can be drawn. */
  readonly version = signal(0);
  #frames: Seen[] = [];
  #nextId = 1;
  #isDue = false;

  push(frame: string, way: "in" | "out"): void {
    // What was signed in with is nobody's to look at.
    const text = frame.startsWith('{"type":"authenticate"')
      ? '{"type":"authenticate", …}'
      : frame.slice(0, SHOWN_CHARS);
    const taskId = TASK_ID.exec(text)?.[1] ?? null;
    this.#frames.push({ id: this.#nextId++, at: Date.now(), way, chars: frame.length, text, taskId });
    if (this.#frames.length > 2 * MAX_FRAMES) this.#frames.splice(0, MAX_FRAMES);
    if (this.#isDue) return;
    this.#isDue = true;
    setTimeout(() => {
      this.#isDue = false;
      this.version.value += 1;
    }, 250);
  }

  /** The newest of a task, newest first. */
  of(taskId: string): Seen[] {
    return this.#frames
      .filter((seen) => seen.taskId === taskId)
      .slice(-MAX_FRAMES)
      .reverse();
  }
}

export const traffic = new Traffic();
