/** The ports that a task opens, and `serve`: a folder as a web site, by a program of ours in the runtime. */

import { type Ending, failed, good, stopped } from "./endings.ts";
import { type Command, commandText } from "./frames.ts";
import type { Report } from "./report.ts";
import type { Runner } from "./runner.ts";
import { inTime, type Runtime, type Spawned, type SpawnOptions } from "./runtime.ts";
import { after, type Stop } from "./stop.ts";

const SERVE_MS = 15_000;
const SCRIPT_NAME = ".gateway-serve.cjs";
const FIRST_PORT = 4200;
let nextPort = FIRST_PORT;

const SCRIPT = `
const http = require("http"), fs = require("fs"), path = require("path");
const root = process.cwd();
const types = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css",
  ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif",
  ".webp": "image/webp", ".ico": "image/x-icon", ".txt": "text/plain", ".wasm": "application/wasm", ".woff2": "font/woff2" };
function found(url) {
  let name = path.join(root, path.normalize("/" + decodeURIComponent(url.split("?")[0])));
  if (fs.statSync(name).isDirectory()) name = path.join(name, "index.html");
  return { name, data: fs.readFileSync(name) };
}
http.createServer((request, response) => {
  try {
    const { name, data } = found(request.url);
    const type = types[path.extname(name)] || "application/octet-stream";
    const isText = /^text|json|svg/.test(type);
    response.writeHead(200, { "Content-Type": isText ? type + "; charset=utf-8" : type });
    response.end(data);
  } catch {
    response.writeHead(404, { "Content-Type": "text/plain; charset=utf-8" });
    response.end("There is nothing at that address.\\n");
  }
}).listen(Number(process.argv[2]));
`;

export function isServe(command: Command): boolean {
  return commandText(command).trim() === "serve";
}

export class Sites {
  /** Where the last port that was opened is shown; null where none was. */
  url: string | null = null;
  /** What serves, where the last command was `serve`: it outlives the task. */
  kept: Spawned | null = null;
  readonly #runtime: Runtime;
  readonly #report: Report;
  readonly #ports = new Map<number, string>();
  #opened: (port: number) => void = () => {};

  constructor(runtime: Runtime, report: Report) {
    this.#runtime = runtime;
    this.#report = report;
  }

  /** A port was opened or closed in the runtime. */
  onPort(port: number, isOpen: boolean, url: string): void {
    if (!isOpen) this.#ports.delete(port);
    if (!isOpen || this.#ports.has(port)) return;
    this.#ports.set(port, url);
    this.url = url;
    this.#report.tell({ kind: "server_ready", port, url, scope: "browser" });
    this.#opened(port);
  }

  /** Puts the folder up. It goes on: there is no exit code, and none is made up. @throws Error of the runtime */
  async serve(runner: Runner, options: SpawnOptions, stop: Stop): Promise<Ending> {
    await inTime(this.#runtime.fs.writeFile(SCRIPT_NAME, SCRIPT));
    const port = nextPort;
    nextPort += 1;
    const ready = this.#untilOpen(port);
    const process = await this.#runtime.spawn(
      "node",
      [this.#runtime.pathOf(SCRIPT_NAME), `${port}`],
      options,
    );
    void runner.watch(process);
    const late = after(SERVE_MS);
    const end = await Promise.race([ready, process.exit, stop.told, late.promise]);
    late.clear();
    if (end === "ready") {
      this.kept = process;
      return good(null, "exit");
    }
    process.kill();
    return stop.reason !== null
      ? stopped(stop.reason)
      : failed("command_failed", "the site was not put up", "lost");
  }

  #untilOpen(port: number): Promise<"ready"> {
    return new Promise((resolve) => {
      this.#opened = (opened) => opened === port && resolve("ready");
    });
  }
}
