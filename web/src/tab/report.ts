/** What a session tells of its task: output as it comes, each command's start and end, and their records. */

import type { Channel } from "./channel.ts";
import type { Ending } from "./endings.ts";
import { MAX_TEXT_BYTES } from "./frames.ts";
import { OutputFlow, type Piece } from "./output.ts";
import { Stop } from "./stop.ts";

/** Output is gathered for so long while it flows. */
const GATHER_MS = 20;
const MAX_RECORDS_BYTES = 512 << 10;
const MIN_TEXT_CHARS = 256;
const encoder = new TextEncoder();

interface CommandRecord {
  command: string;
  exit_code: number | null;
  reason: string;
  duration_ms: number;
  stdout: string;
  stderr: string;
  truncated: boolean;
}

interface Running {
  index: number;
  text: string;
  startedAt: number;
}

export class Report {
  readonly records: CommandRecord[] = [];
  readonly #channel: Channel;
  readonly #streams: boolean;
  readonly #flow: OutputFlow;
  readonly #decoder = new TextDecoder();
  #running: Running | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #sentAt = 0;
  #isWaitingForRoom = false;

  constructor(channel: Channel, streams: boolean, outputBytes: number) {
    this.#channel = channel;
    this.#streams = streams;
    this.#flow = new OutputFlow(outputBytes, streams);
  }

  tell(progress: object, cost = 0): void {
    if (this.#streams) this.#channel.send({ type: "task_progress", progress }, cost);
  }

  begin(index: number, text: string): void {
    this.#running = { index, text: shortened(text, MAX_TEXT_BYTES), startedAt: performance.now() };
    this.tell({ kind: "command", index, command: this.#running.text, exit_code: null });
  }

  /** Takes what the command wrote; it goes out soon, as far as there is credit. */
  feed(raw: Uint8Array): void {
    this.#flow.feed(raw);
    const isDue = performance.now() - this.#sentAt >= GATHER_MS || this.#flow.waitingBytes >= MAX_TEXT_BYTES;
    // The clock is not waited for where that can be helped: a hidden page's is slow.
    if (isDue) this.#deliver();
    else if (this.#flow.isWaiting) this.#timer ??= setTimeout(() => this.#deliver(), GATHER_MS);
  }

  /** The command has ended: its output goes out, however long that takes, unless the task is stopped meanwhile. */
  async end(ending: Ending, stop: Stop): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    const { text, truncated } = this.#flow.endCommand();
    this.#keep(running, ending, text, truncated);
    while (this.#deliverFor(running.index) && stop.reason === null)
      await Promise.race([this.#channel.untilRoom(), stop.told]);
    this.#close(running, ending);
  }

  /** The task has ended: where a command ran, what there is no credit for is dropped, and said so. */
  async cutShort(ending: Ending): Promise<void> {
    const stop = new Stop();
    stop.now("cancelled");
    await this.end(ending, stop);
  }

  #close(running: Running, ending: Ending): void {
    this.#running = null;
    const dropped_bytes = this.#flow.giveUp();
    const reason = ending.reason ?? "lost";
    if (dropped_bytes > 0) this.tell({ kind: "output_gap", stream: "stdout", dropped_bytes, reason });
    const { index, text: command } = running;
    this.tell({ kind: "command", index, command, exit_code: ending.exitCode, reason });
  }

  #deliver(): void {
    if (this.#running === null || !this.#deliverFor(this.#running.index) || this.#isWaitingForRoom) return;
    this.#isWaitingForRoom = true;
    void this.#channel.untilRoom().then(() => {
      this.#isWaitingForRoom = false;
      this.#deliver();
    });
  }

  /** Sends what there is credit for; whether something is left. */
  #deliverFor(index: number): boolean {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#sentAt = performance.now();
    for (let piece = this.#take(); piece !== null; piece = this.#take()) this.#sendPiece(piece, index);
    return this.#flow.isWaiting;
  }

  #take(): Piece | null {
    const piece = this.#flow.take(this.#channel.room);
    return piece?.kind === "text" && piece.data.length === 0 ? null : piece;
  }

  #sendPiece(piece: Piece, command: number): void {
    const stream = "stdout"; // the runtime knows one stream, a terminal's
    if (piece.kind === "gap")
      this.tell({ kind: "output_gap", stream, dropped_bytes: piece.dropped, reason: piece.reason });
    else
      this.tell(
        { kind: "output", stream, text: this.#decoder.decode(piece.data), command },
        piece.data.length,
      );
  }

  #keep(running: Running, ending: Ending, stdout: string, truncated: boolean): void {
    this.records.push({
      command: running.text,
      exit_code: ending.exitCode,
      reason: ending.reason ?? "lost",
      duration_ms: Math.round(performance.now() - running.startedAt),
      stdout,
      stderr: "",
      truncated,
    });
    this.#fit();
  }

  /** All records together fit into the last frame: their texts are cut to head and tail, more and more. */
  #fit(): void {
    for (let most = MAX_TEXT_BYTES; this.#size() > MAX_RECORDS_BYTES; most /= 2) {
      if (most < MIN_TEXT_CHARS) this.records.pop();
      else for (const record of this.records) shrink(record, most);
    }
  }

  #size(): number {
    return this.records.reduce((sum, record) => sum + encoder.encode(JSON.stringify(record)).length, 0);
  }
}

function shrink(record: CommandRecord, most: number): void {
  for (const key of ["command", "stdout"] as const) {
    if (record[key].length <= most) continue;
    record[key] = shortened(record[key], most);
    record.truncated = true;
  }
}

/** Head and tail of `text`, `most` characters together; itself where it is short enough. */
export function shortened(text: string, most: number): string {
  if (text.length <= most) return text;
  const half = Math.floor((most - 3) / 2);
  // A half of a character at the seam would be no text.
  const head = text.slice(0, half).replace(/[\uD800-\uDBFF]$/, "");
  const tail = text.slice(-half).replace(/^[\uDC00-\uDFFF]/, "");
  return `${head}\n…\n${tail}`;
}
