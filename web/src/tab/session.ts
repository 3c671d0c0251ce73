/** A session: one task in a folder of its own, from its files to its one last frame. */

import type { Channel } from "./channel.ts";
import { Collection } from "./collect.ts";
import { type Ending, endFrame, failed, good, stopped } from "./endings.ts";
import { BadInput } from "./files.ts";
import { type Command, commandText, type Said, type Size } from "./frames.ts";
import { Report } from "./report.ts";
import { Runner } from "./runner.ts";
import { inTime, type OnPort, type Runtime, RuntimeLost, type SpawnOptions } from "./runtime.ts";
import { isServe, Sites } from "./sites.ts";
import { Stop, type StopReason } from "./stop.ts";
import type { Task } from "./task.ts";

/** Ends of a command that the task may take in its stride; a stop is the whole task's. */
const OWN_FAILURES = new Set(["command_failed", "timeout"]);

export class Session {
  readonly #task: Task;
  readonly #runtime: Runtime;
  readonly #folder: string;
  readonly #report: Report;
  readonly #runner: Runner;
  readonly #sites: Sites;
  readonly #collection: Collection;
  readonly #stop = new Stop();
  #isLost = false;
  #idleTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(task: Task, runtime: Runtime, channel: Channel, folder: string) {
    this.#task = task;
    this.#runtime = runtime;
    this.#folder = folder;
    this.#report = new Report(channel, task.streams, task.outputBytes);
    this.#runner = new Runner(runtime, this.#report, this.#stop, () => this.#moved());
    this.#sites = new Sites(runtime, this.#report);
    this.#collection = new Collection(runtime, folder, channel);
  }

  /** Whether the runtime has to begin anew before it can be given another task. */
  get spoiltRuntime(): boolean {
    return this.#isLost || this.#runner.isStuck;
  }

  get hasSite(): boolean {
    return this.#sites.kept !== null;
  }

  // --- what its bridge says

  /** Ends it soon. */
  stop(reason: StopReason = "cancelled"): void {
    this.#stop.now(reason);
  }

  put(data: string, eof: boolean, seq: number): void {
    if (this.#task.hasStdin) this.#runner.put(data, eof, seq);
  }

  get inputSeq(): number {
    return this.#runner.inputSeq;
  }

  resize(size: Size): void {
    this.#runner.resize(size);
  }

  readonly onPort: OnPort = (...about) => this.#sites.onPort(...about);

  get #endsInServe(): boolean {
    const last = this.#task.commands.at(-1);
    return last !== undefined && isServe(last);
  }

  // --- from its files to its end

  /** Runs the task; its last frame. Nothing of it runs then, but for a site that it has left. */
  async run(): Promise<Said> {
    const timer = setTimeout(() => this.stop("timeout"), this.#task.timeoutMs);
    this.#moved();
    const ending = await this.#ended();
    clearTimeout(timer);
    clearTimeout(this.#idleTimer);
    if (ending.code !== null || !this.#endsInServe) this.#closeSite();
    await this.#report.cutShort(ending);
    await this.#clear();
    const { files, leftOut } = this.#collection;
    const filesLeftOut = this.#task.wanted === null ? 0 : leftOut;
    return endFrame(ending, { commands: this.#report.records, url: this.#sites.url, files, filesLeftOut });
  }

  /** The site that it has left goes. */
  async close(): Promise<void> {
    this.#closeSite();
    await this.#clear();
  }

  #closeSite(): void {
    this.#sites.kept?.kill();
    this.#sites.kept = null;
  }

  async #clear(): Promise<void> {
    this.#runner.finish(this.#sites.kept);
    if (this.hasSite || this.spoiltRuntime) return;
    await inTime(this.#runtime.fs.rm(this.#folder, { recursive: true, force: true })).catch(() => {});
  }

  async #ended(): Promise<Ending> {
    try {
      const ending = await this.#work();
      return this.#stop.reason === null || ending.code !== null ? ending : stopped(this.#stop.reason);
    } catch (error) {
      if (error instanceof BadInput) return failed("bad_input", error.message);
      this.#isLost = true;
      if (this.#stop.reason !== null) return stopped(this.#stop.reason);
      return failed("sandbox_lost", `the runtime failed: ${(error as Error).message}`, "lost");
    }
  }

  async #work(): Promise<Ending> {
    await this.#mount();
    const ending = await this.#commands();
    const { wanted, collectBytes } = this.#task;
    if (wanted !== null && !this.#runner.isStuck)
      await this.#collection.send(wanted, collectBytes, this.#stop);
    return ending;
  }

  async #mount(): Promise<void> {
    try {
      await this.#runtime.mount(this.#folder, this.#task.tree);
    } catch (error) {
      if (error instanceof RuntimeLost) throw error;
      throw new BadInput(`a file can't be written: ${(error as Error).message}`);
    }
  }

  async #commands(): Promise<Ending> {
    let ending = good(null, null);
    for (const [index, command] of this.#task.commands.entries()) {
      if (this.#stop.reason !== null) return stopped(this.#stop.reason);
      this.#report.begin(index, commandText(command));
      ending = await this.#command(command);
      await this.#report.end(ending, this.#stop);
      const isTakenInStride = command.continue_on_error && OWN_FAILURES.has(ending.code ?? "");
      if (ending.code !== null && (!isTakenInStride || this.#runner.isStuck)) return ending;
    }
    return good(ending.exitCode, ending.reason);
  }

  #command(command: Command): Promise<Ending> {
    const terminal = command.tty === undefined ? {} : { TERM: "xterm-256color" };
    const options: SpawnOptions = {
      cwd: command.cwd === undefined ? this.#folder : `${this.#folder}/${command.cwd}`,
      env: { ...terminal, ...command.env },
    };
    if (isServe(command)) return this.#sites.serve(this.#runner, options, this.#stop);
    return this.#runner.execute(command, options);
  }

  #moved(): void {
    const { idleMs } = this.#task;
    if (idleMs === null) return;
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => this.stop("idle"), idleMs);
  }
}
