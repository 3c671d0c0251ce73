/** What a task's events say, as a terminal takes it. */

import type { EventData, TaskEvent } from "../client/index.ts";
import { PlainText } from "./plain-text.ts";

const RESET = "\x1b[0m";
const FAINT = "\x1b[38;5;245m";
const STYLES = {
  command: "\x1b[1;38;5;111m",
  good: "\x1b[38;5;114m",
  bad: "\x1b[38;5;210m",
  note: "\x1b[3;38;5;245m",
  stderr: "\x1b[38;5;216m",
};

/** Takes the events of one log, in order. */
export class Wording {
  #lastSeq = 0;
  #lastProgress = "";
  #isAtLineStart = true;

  /** What is shown of `event`, behind all that was before it. */
  of(event: TaskEvent): string {
    return this.#missed(event.seq) + this.#said(event);
  }

  #missed(seq: number): string {
    const first = this.#lastSeq + 1;
    this.#lastSeq = seq;
    return seq > first ? this.#line("note", `Events ${first} to ${seq - 1} are not kept any more.`) : "";
  }

  #said(event: TaskEvent): string {
    if (event.event === "output") return this.#output(event.data);
    if (event.event === "output_gap") return this.#gap(event.data);
    if (event.event === "command") return this.#command(event.data);
    if (event.event === "status") return this.#status(event.data);
    if (event.event === "log") return this.#line("note", `${event.data.level}: ${event.data.message}`);
    return this.#landmark(event);
  }

  /** What an agent tells beside output. */
  #landmark(event: TaskEvent): string {
    if (event.event === "checkpoint") return this.#line("good", `◆ checkpoint ${event.data.step_name}`);
    if (event.event === "input_requested") return this.#line("command", `? ${event.data.prompt}`);
    if (event.event === "server_ready" && event.data.url !== null) {
      return this.#line("good", `◆ a site is up: ${event.data.url}`);
    }
    return event.event === "progress" ? this.#progress(event.data) : "";
  }

  #progress({ phase, status }: EventData["progress"]): string {
    const said = [phase, status].filter((part) => typeof part === "string" && part !== "").join(": ");
    if (said === "" || said === this.#lastProgress) return "";
    this.#lastProgress = said;
    return this.#line("note", said);
  }

  #output({ stream, text }: EventData["output"]): string {
    if (text !== "") this.#isAtLineStart = text.endsWith("\n");
    // What has colours of its own keeps them.
    return stream === "stderr" && !text.includes("\x1b") ? `${STYLES.stderr}${text}${RESET}` : text;
  }

  #gap({ stream, dropped_bytes, reason }: EventData["output_gap"]): string {
    const amount = dropped_bytes === null ? "From here on" : `${dropped_bytes.toLocaleString("en")} bytes of`;
    return this.#line(
      "note",
      `${amount} ${stream} ${dropped_bytes === null ? "is" : "were"} left out (${reason}).`,
    );
  }

  #command({ command, exit_code, reason }: EventData["command"]): string {
    if (exit_code === null && reason === undefined) return this.#line("command", `$ ${command}`);
    if (exit_code === 0) return this.#line("good", "✓ exit code 0");
    return this.#line("bad", exit_code === null ? `✗ ended: ${reason}` : `✗ exit code ${exit_code}`);
  }

  #status({ status, previous, attempt, reason }: EventData["status"]): string {
    if (status === "pending" && reason !== undefined) {
      return this.#line("note", `Its place was lost (${reason}).`);
    }
    // What goes on behind a pause is the same attempt.
    if (status !== "running" || previous !== "pending" || attempt < 2) return "";
    return this.#line("note", `Attempt ${attempt} begins; it replaces the output above.`);
  }

  /** A line of ours, which no sequence of the task's can get into. */
  #line(kind: keyof typeof STYLES, text: string): string {
    const start = this.#isAtLineStart ? RESET : `${RESET}${FAINT}⏎${RESET}\n`;
    this.#isAtLineStart = true;
    const told = kind === "note" ? `▸ ${text}` : text;
    const plain = new PlainText().take(told).replaceAll("\n", `${RESET}\n${STYLES[kind]}`);
    return `${start}${STYLES[kind]}${plain}${RESET}\n`;
  }
}
