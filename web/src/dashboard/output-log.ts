/** A task's output as lines, bounded; knows nothing of how they are shown. */

import type { EventData, TaskEvent } from "../client/index.ts";
import { PlainText } from "./plain-text.ts";

export type LineKind = "stdout" | "stderr" | "command" | "good" | "bad" | "note";

export interface Line {
  readonly id: number;
  readonly kind: LineKind;
  text: string;
  /** Characters beyond what one line shows. */
  hiddenChars: number;
}

interface Stream {
  plain: PlainText;
  /** The line that has not ended yet. */
  open: Line | null;
  /** A carriage return came: what follows is written over the line. */
  rewound: boolean;
}

/** What a browser draws without effort; the log itself is kept by the gateway. */
export const MAX_LINES = 5_000;
const MAX_LINE_CHARS = 8_192;
const STEP = 250;

export class OutputLog {
  readonly lines: Line[] = [];
  /** Lines that made room for newer ones. */
  dropped = 0;
  /** Ids of lines that changed after they were shown; whoever shows them clears it. */
  readonly changed = new Set<number>();
  #nextId = 0;
  #lastSeq = 0;
  #streams = { stdout: newStream(), stderr: newStream() };

  push(event: TaskEvent): void {
    if (event.seq > this.#lastSeq + 1) {
      this.#note(`Events ${this.#lastSeq + 1} to ${event.seq - 1} are not kept any more.`);
    }
    this.#lastSeq = event.seq;
    if (event.event === "output") this.#output(event.data);
    else if (event.event === "output_gap") this.#gap(event.data);
    else if (event.event === "command") this.#command(event.data);
    else if (event.event === "status") this.#status(event.data);
    else if (event.event === "log") this.#note(`${event.data.level}: ${event.data.message}`);
  }

  /** All lines as text. */
  text(): string {
    return this.lines.map((line) => line.text).join("\n");
  }

  #output({ stream: name, text }: EventData["output"]): void {
    const stream = this.#streams[name];
    for (const part of stream.plain.take(text).split(/(\r*\n|\r)/)) {
      if (part.endsWith("\n")) this.#endLine(name, stream);
      else if (part === "\r") stream.rewound = true;
      else if (part !== "") this.#write(name, stream, part);
    }
  }

  #endLine(kind: LineKind, stream: Stream): void {
    if (stream.open === null) this.#add(kind, "");
    stream.open = null;
    stream.rewound = false;
  }

  #write(kind: LineKind, stream: Stream, text: string): void {
    stream.open ??= this.#add(kind, "");
    const line = stream.open;
    if (stream.rewound) {
      line.text = "";
      line.hiddenChars = 0;
      stream.rewound = false;
    }
    const shown = text.slice(0, Math.max(0, MAX_LINE_CHARS - line.text.length));
    line.text += shown;
    line.hiddenChars += text.length - shown.length;
    this.changed.add(line.id);
  }

  #gap({ stream, dropped_bytes, reason }: EventData["output_gap"]): void {
    const amount = dropped_bytes === null ? "From here on" : `${dropped_bytes.toLocaleString("en")} bytes of`;
    this.#note(`${amount} ${stream} ${dropped_bytes === null ? "is" : "were"} left out (${reason}).`);
  }

  #command({ command, exit_code, reason }: EventData["command"]): void {
    if (exit_code === null && reason === undefined) {
      this.#closeLines();
      this.#add("command", command);
    } else if (exit_code === 0) this.#note("exit code 0", "good");
    else this.#note(exit_code === null ? `ended: ${reason}` : `exit code ${exit_code}`, "bad");
  }

  #status({ status, attempt, reason }: EventData["status"]): void {
    if (status === "pending" && reason !== undefined) this.#note(`Its place was lost (${reason}).`);
    if (status === "running" && attempt > 1) {
      this.#note(`Attempt ${attempt} begins; it replaces the output above.`);
    }
  }

  #note(text: string, kind: LineKind = "note"): void {
    this.#closeLines();
    this.#add(kind, text);
  }

  #closeLines(): void {
    for (const stream of [this.#streams.stdout, this.#streams.stderr]) {
      stream.open = null;
      stream.rewound = false;
    }
  }

  #add(kind: LineKind, text: string): Line {
    const line = { id: this.#nextId++, kind, text, hiddenChars: 0 };
    this.lines.push(line);
    // In steps, since cutting the front of a long array moves all the rest of it.
    if (this.lines.length > MAX_LINES) this.dropped += this.lines.splice(0, STEP).length;
    return line;
  }
}

function newStream(): Stream {
  return { plain: new PlainText(), open: null, rewound: false };
}
