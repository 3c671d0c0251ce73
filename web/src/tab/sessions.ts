/** The sessions of the tab: the one that runs, whose ends may be asked for again, whose sites are up. */

import { Channel, type Line } from "./channel.ts";
import { errorFrame } from "./endings.ts";
import { BadInput, Stagings } from "./files.ts";
import { type FileChunk, RESUME_MS, type Said, type TaskFrame } from "./frames.ts";
import type { Runtime } from "./runtime.ts";
import { Session } from "./session.ts";
import { checked } from "./task.ts";

/** A runtime is one to a page, and each task has all of it. */
export const MAX_SESSIONS = 1;
const MAX_REMEMBERED = 1_000;
const MAX_KEPT_ENDS = 16;
const MAX_SITES = 8;

/** From its task to the moment from which nobody can ask for it any more. */
interface Stay {
  session: Session;
  channel: Channel;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export class Sessions {
  readonly #runtime: Runtime;
  /** Called as a task begins, and as it ends. */
  readonly #onChange: (isRunning: boolean) => void;
  /** Called when there is no runtime any more, and no way to another but a reload. */
  readonly #onLost: () => void;
  readonly #running = new Map<string, Stay>();
  readonly #over = new Map<string, Stay>();
  readonly #sites = new Map<string, Session>();
  /** Ended sessions, whose late cancels are ignored. */
  readonly #remembered = new Set<string>();
  readonly #stagings = new Stagings();
  #count = 0;

  constructor(runtime: Runtime, onChange: (isRunning: boolean) => void, onLost: () => void) {
    this.#runtime = runtime;
    this.#onChange = onChange;
    this.#onLost = onLost;
  }

  get active(): number {
    return this.#running.size;
  }

  get(sessionId: string): Stay | undefined {
    return this.#running.get(sessionId);
  }

  stage(chunk: FileChunk): void {
    if (!this.#running.has(chunk.session_id)) this.#stagings.add(chunk);
  }

  // --- from a task to its end

  /** Begins the session of a task, whose frames go to `line`; what is not taken is told at once. */
  accept(frame: TaskFrame, line: Line): void {
    const staged = this.#stagings.take(frame.session_id);
    try {
      if (this.#running.has(frame.session_id))
        throw new Refused("bad_input", "this session is running already");
      if (this.active >= MAX_SESSIONS) throw new Refused("busy", "this tab runs one task at a time");
      this.#start(frame.session_id, checked(frame, staged), line);
    } catch (error) {
      const code = error instanceof Refused ? error.code : error instanceof BadInput ? "bad_input" : null;
      if (code === null) throw error;
      this.#remember(frame.session_id);
      say(line, frame.session_id, errorFrame((error as Error).message, code));
    }
  }

  #start(sessionId: string, task: ReturnType<typeof checked>, line: Line): void {
    this.#forget(sessionId);
    this.closeSite(sessionId);
    this.#count += 1;
    const channel = new Channel(sessionId, line);
    const session = new Session(task, this.#runtime, channel, `task-${this.#count}`);
    const stay: Stay = { session, channel, timer: undefined };
    this.#running.set(sessionId, stay);
    this.#runtime.onPort = session.onPort;
    this.#onChange(true);
    void this.#run(sessionId, stay);
  }

  async #run(sessionId: string, stay: Stay): Promise<void> {
    const { session, channel } = stay;
    const frame = await session.run();
    const isUsable = !session.spoiltRuntime || (await this.#rebooted());
    // The place is free once this is said, and not before what was left is gone.
    this.#running.delete(sessionId);
    this.#remember(sessionId);
    if (session.hasSite) this.#keepSite(sessionId, session);
    this.#keepEnd(sessionId, stay);
    channel.send(frame);
    this.#onChange(false);
    if (!isUsable) this.#onLost();
  }

  /** What does not end when it is told to ends with the runtime, and so do all sites. Whether there is another one. */
  async #rebooted(): Promise<boolean> {
    this.#sites.clear();
    try {
      await this.#runtime.reboot();
      return true;
    } catch {
      return false;
    }
  }

  #keepSite(sessionId: string, session: Session): void {
    this.#sites.set(sessionId, session);
    const [oldest] = this.#sites.keys();
    if (this.#sites.size > MAX_SITES && oldest !== undefined) this.closeSite(oldest);
  }

  /** The end is kept for a bridge that may lack it. */
  #keepEnd(sessionId: string, stay: Stay): void {
    clearTimeout(stay.timer);
    this.#over.set(sessionId, stay);
    stay.timer = setTimeout(() => this.#forget(sessionId), RESUME_MS);
    const [oldest] = this.#over.keys();
    if (this.#over.size > MAX_KEPT_ENDS && oldest !== undefined) this.#forget(oldest);
  }

  #forget(sessionId: string): void {
    clearTimeout(this.#over.get(sessionId)?.timer);
    this.#over.delete(sessionId);
  }

  #remember(sessionId: string): void {
    this.#remembered.add(sessionId);
    const [oldest] = this.#remembered;
    if (this.#remembered.size > MAX_REMEMBERED && oldest !== undefined) this.#remembered.delete(oldest);
  }

  // --- a bridge that goes and comes back

  /** A socket is gone: what runs waits for its bridge, but not for long, and no longer for each socket more that goes. */
  leave(): void {
    this.#stagings.clear();
    for (const [sessionId, stay] of this.#all()) {
      if (stay.channel.line === null) continue;
      stay.channel.detach();
      if (!this.#running.has(sessionId)) continue;
      stay.timer = setTimeout(() => stay.session.stop(), RESUME_MS);
    }
  }

  /** What `hello` lists under `resume`. */
  offers(): object[] {
    return this.#all().map(([session_id, { channel, session }]) => ({
      session_id,
      last_seq: channel.lastSeq,
      input_seq: session.inputSeq,
    }));
  }

  #all(): [string, Stay][] {
    return [...this.#running, ...this.#over];
  }

  /** Goes on over `line` behind the frame `afterSeq`. Where that can't be, the session is over, and that is said. */
  resume(sessionId: string, line: Line, afterSeq: number): void {
    const stay = this.#running.get(sessionId) ?? this.#over.get(sessionId);
    if (stay?.channel.attach(line, afterSeq)) {
      if (this.#running.has(sessionId)) clearTimeout(stay.timer);
      stay.channel.flush();
      return;
    }
    stay?.session.stop();
    say(line, sessionId, errorFrame("it can't go on", "unknown_session", "lost"));
  }

  // --- told to end

  /** Has a session end; `line` hears of it where its bridge is away. */
  cancel(sessionId: string, line: Line): void {
    const stay = this.#running.get(sessionId);
    if (stay !== undefined) {
      if (stay.channel.line === null) this.resume(sessionId, line, stay.channel.lastSeq);
      stay.session.stop();
    } else if (this.#stagings.has(sessionId)) {
      this.#stagings.take(sessionId);
      this.#remember(sessionId);
      say(line, sessionId, errorFrame("cancelled before it began", "cancelled", "cancelled"));
    } else if (!this.#remembered.has(sessionId))
      say(line, sessionId, errorFrame("no such session", "unknown_session"));
  }

  /** Has a session and its site end, where they are there. */
  close(sessionId: string): void {
    this.#stagings.take(sessionId);
    this.#running.get(sessionId)?.session.stop();
    this.closeSite(sessionId);
  }

  closeSite(sessionId: string): void {
    void this.#sites.get(sessionId)?.close();
    this.#sites.delete(sessionId);
  }
}

/** A task that is not taken; `code` is the protocol's word for why. */
class Refused extends Error {
  readonly code: string;

  constructor(code: string, words: string) {
    super(words);
    this.code = code;
  }
}

/** Says something of a session that has no channel, and so no numbers. */
function say(line: Line, sessionId: string, frame: Said): void {
  line.send(JSON.stringify({ session_id: sessionId, ...frame }));
}
