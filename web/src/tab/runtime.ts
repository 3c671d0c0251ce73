/** The one WebContainer of this page, behind deadlines that it has not itself. */

import type { FileSystemAPI, FileSystemTree, WebContainer } from "@webcontainer/api";

import type { Size } from "./frames.ts";

type Api = typeof import("@webcontainer/api");

export const BOOT_MS = 30_000;
const CALL_MS = 30_000;
const WORKDIR = "work";

/** The runtime did not do what it was asked for, and can't be counted on any more. */
export class RuntimeLost extends Error {}

export interface Spawned {
  /** Ends with the process, or some time after it. */
  output: ReadableStream<Uint8Array>;
  /** What the runtime's kernel reports. */
  exit: Promise<number>;
  write(text: string): void;
  resize(size: Size): void;
  /** Asks it to end; nothing promises that it does. */
  kill(): void;
}

export interface SpawnOptions {
  cwd: string;
  env: { [name: string]: string };
  terminal?: Size;
}

export type OnPort = (port: number, isOpen: boolean, url: string) => void;

export class Runtime {
  /** Hears of each port that is opened or closed in there. */
  onPort: OnPort = () => {};
  #api: Api;
  #container: WebContainer;

  private constructor(api: Api, container: WebContainer) {
    this.#api = api;
    this.#container = container;
    this.#listen();
  }

  /** @throws RuntimeLost where it is not there in time; then only a reload of the page helps. */
  static async boot(url: string, key: string | null): Promise<Runtime> {
    (globalThis as { WEBCONTAINER_API_IFRAME_URL?: string }).WEBCONTAINER_API_IFRAME_URL = url;
    const api = await loaded();
    if (key !== null) api.configureAPIKey(key);
    return new Runtime(api, await started(api));
  }

  /** Begins anew with nothing in it: whatever ran, and every file, is gone. @throws RuntimeLost */
  async reboot(): Promise<void> {
    this.#container.teardown();
    this.#container = await started(this.#api);
    this.#listen();
  }

  get fs(): FileSystemAPI {
    return this.#container.fs;
  }

  /** The absolute path of what is at `path`. */
  pathOf(path: string): string {
    return `${this.#container.workdir}/${path}`;
  }

  /** Puts `tree` into `folder`, which is made. @throws Error with the runtime's words. */
  async mount(folder: string, tree: FileSystemTree): Promise<void> {
    await inTime(this.fs.mkdir(folder, { recursive: true }));
    await inTime(this.#container.mount(tree, { mountPoint: folder }));
  }

  /** @throws Error where there is no such program, in the runtime's words. */
  async spawn(program: string, args: string[], options: SpawnOptions): Promise<Spawned> {
    const process = await inTime(this.#container.spawn(program, args, options));
    const input = process.input.getWriter();
    return {
      output: process.output.pipeThrough(asBytes()),
      exit: process.exit,
      write: (text) => void input.write(text).catch(() => {}),
      resize: (size) => process.resize(size),
      kill: () => process.kill(),
    };
  }

  #listen(): void {
    this.#container.on("port", (port, type, url) => this.onPort(port, type === "open", url));
  }
}

/**
 * The library, made to give its output byte by byte: it decodes each piece that comes as if it stood alone, with one
 * decoder that it makes when it is loaded, and a character that comes in two pieces would be lost. This encoding has a
 * character for each byte (https://encoding.spec.whatwg.org/#x-user-defined).
 */
async function loaded(): Promise<Api> {
  const Native = globalThis.TextDecoder;
  globalThis.TextDecoder = class extends Native {
    constructor() {
      super("x-user-defined");
    }
  };
  try {
    return await import("@webcontainer/api");
  } finally {
    globalThis.TextDecoder = Native;
  }
}

function asBytes(): TransformStream<string, Uint8Array> {
  return new TransformStream({
    transform(text, controller) {
      controller.enqueue(Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff));
    },
  });
}

function started(api: Api): Promise<WebContainer> {
  const words = `The runtime was not there after ${BOOT_MS / 1000} seconds. Its vendor's servers may be out of reach, or this browser blocks what other sites keep in it.`;
  return inTime(api.WebContainer.boot({ coep: "require-corp", workdirName: WORKDIR }), BOOT_MS, words);
}

/** What `promise` gives, unless it takes too long: the runtime hangs rather than fails. @throws RuntimeLost */
export function inTime<T>(
  promise: Promise<T>,
  ms = CALL_MS,
  words = "The runtime does not answer.",
): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new RuntimeLost(words)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
