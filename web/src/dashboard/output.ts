/** A task's output as a terminal takes it, bounded; knows nothing of how it is shown. */

import type { TaskEvent } from "../client/index.ts";
import { PlainLines } from "./plain-text.ts";
import { Wording } from "./wording.ts";

/** Takes what comes; the promise is kept once it has room for more. */
export type Sink = (text: string) => Promise<void>;

/** What is kept here; the log itself is kept by the gateway. */
const MAX_CHARS = 8 * 1024 * 1024;
/** Lines that are shown as text; a document of more is slow to lay out. */
export const SHOWN_LINES = 5_000;

export class Output {
  /** Characters that made room for newer ones. */
  droppedChars = 0;
  #pieces: string[] = [];
  #chars = 0;
  readonly #wording = new Wording();
  #sink: Sink | null = null;

  /** Characters that have come in all. */
  get total(): number {
    return this.#chars + this.droppedChars;
  }

  get isEmpty(): boolean {
    return this.#pieces.length === 0;
  }

  /** Takes an event in; waits where whoever shows it has enough for now. */
  async push(event: TaskEvent): Promise<void> {
    const text = this.#wording.of(event);
    if (text === "") return;
    this.#pieces.push(text);
    this.#chars += text.length;
    while (this.#chars > MAX_CHARS && this.#pieces.length > 1) {
      const gone = this.#pieces.shift()?.length ?? 0;
      this.#chars -= gone;
      this.droppedChars += gone;
    }
    await this.#sink?.(text);
  }

  /** Shows what there is to `sink`, and what comes; ends by what it returns. */
  show(sink: Sink): () => void {
    void sink(this.#pieces.join(""));
    this.#sink = sink;
    return () => {
      if (this.#sink === sink) this.#sink = null;
    };
  }

  /** As plain text: no escape sequence, no control character. Its newest lines, and that there were others. */
  text(maxLines = Number.POSITIVE_INFINITY): string {
    const plain = new PlainLines();
    const lines = [...plain.take(this.#pieces.join("")), plain.open];
    const shown = lines.slice(-maxLines);
    const missing = lines.length - shown.length;
    if (missing > 0)
      shown.unshift(`▸ ${missing.toLocaleString("en")} lines before these: Copy and Save have them.`);
    if (this.droppedChars > 0) {
      const dropped = this.droppedChars.toLocaleString("en");
      shown.unshift(`▸ The first ${dropped} characters are not kept here: Save has them.`);
    }
    return shown.join("\n");
  }
}
