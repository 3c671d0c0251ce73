/** A session's processes: each command from its start to its end, what it prints and what it reads. */

import { type Ending, exited, failed, stopped } from "./endings.ts";
import type { Command, Size } from "./frames.ts";
import type { Report } from "./report.ts";
import { inTime, type Runtime, RuntimeLost, type Spawned, type SpawnOptions } from "./runtime.ts";
import { after, type Stop } from "./stop.ts";

/** For a command to end that was asked to. */
const KILL_MS = 2_000;
/** The output of a process that has ended may stay open for ever. */
const DRAIN_MS = 500;
const END_OF_INPUT = "\x04";

export class Runner {
  /** A process did not end when it was told to. */
  isStuck = false;
  /** The number of the last input that came. */
  inputSeq = 0;
  readonly #runtime: Runtime;
  readonly #report: Report;
  readonly #stop: Stop;
  /** Called for each sign that the task moves. */
  readonly #moved: () => void;
  readonly #alive = new Set<Spawned>();
  readonly #input: string[] = [];
  #reader: Spawned | null = null;
  #isOver = false;

  constructor(runtime: Runtime, report: Report, stop: Stop, moved: () => void) {
    this.#runtime = runtime;
    this.#report = report;
    this.#stop = stop;
    this.#moved = moved;
  }

  /** Runs one command; what it ends with. @throws RuntimeLost */
  async execute(command: Command, options: SpawnOptions): Promise<Ending> {
    const { sh = "", argv = ["jsh", "-c", sh], tty: terminal } = command;
    const [program = "", ...args] = argv;
    try {
      const given = terminal === undefined ? options : { ...options, terminal };
      return await this.#follow(await this.#runtime.spawn(program, args, given), command.timeout_s);
    } catch (error) {
      if (error instanceof RuntimeLost) throw error;
      const words = `the command could not be started: ${(error as Error).message}`;
      return failed("command_failed", words, "lost");
    }
  }

  /** Until the process has ended, by itself or because its time is over. */
  async #follow(process: Spawned, timeoutS: number | undefined): Promise<Ending> {
    const pumped = this.watch(process);
    this.#reader = process;
    this.#feed();
    const late = after(timeoutS === undefined ? null : 1000 * timeoutS);
    const end = await Promise.race([process.exit, this.#stop.told, late.promise]);
    late.clear();
    this.#reader = null;
    if (typeof end !== "number") await this.#end(process);
    await Promise.race([pumped, after(DRAIN_MS).promise]);
    if (typeof end === "number") return exited(end);
    if (this.#stop.reason !== null) return stopped(this.#stop.reason);
    return failed("timeout", "the command took too long", "timeout");
  }

  /** Takes what a process prints until it prints no more, or the task is over. */
  async watch(process: Spawned): Promise<void> {
    this.#alive.add(process);
    process.exit.then(
      () => this.#alive.delete(process),
      () => {},
    );
    for await (const raw of process.output) {
      if (this.#isOver) continue; // a site's: it must not pile up
      this.#moved();
      this.#report.feed(raw);
    }
  }

  async #end(process: Spawned): Promise<void> {
    process.kill();
    await inTime(process.exit, KILL_MS).catch(() => {
      this.isStuck = true;
    });
  }

  /** The task is over: whatever of it still runs ends, but for `site`. */
  finish(site: Spawned | null): void {
    this.#isOver = true;
    for (const process of this.#alive) if (process !== site) process.kill();
  }

  // --- what it reads

  /** Gives the command that runs something to read, or the next one; what came before is not taken again. */
  put(data: string, eof: boolean, seq: number): void {
    if (seq <= this.inputSeq) return;
    this.inputSeq = seq;
    this.#input.push(data + (eof ? END_OF_INPUT : ""));
    this.#feed();
  }

  resize(size: Size): void {
    this.#reader?.resize(size);
  }

  #feed(): void {
    if (this.#reader === null) return;
    for (const text of this.#input.splice(0)) {
      this.#moved();
      this.#reader.write(text);
    }
  }
}
