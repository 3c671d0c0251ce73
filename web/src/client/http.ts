/** What goes beside the socket, by HTTP: files, and lists that have no frame. */

import { GatewayError } from "./errors.ts";
import { type FileSet, tar } from "./tar.ts";
import type { Problem, SubmitParams, Task } from "./wire.ts";

export type GetToken = () => string | null | Promise<string | null>;

/** An upload may be large, and the way slow. */
const UPLOAD_DEADLINE_MS = 3_600_000;
const DEADLINE_MS = 30_000;

export class Http {
  /** As `https://host`, without a path. */
  readonly origin: string;
  readonly #token: GetToken;

  constructor(url: string, token: GetToken) {
    this.origin = new URL(url.replace(/^ws/, "http")).origin;
    this.#token = token;
  }

  /** The body of a good answer, as JSON. @throws GatewayError */
  async json<T>(path: string, init: RequestInit = {}): Promise<T> {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    return (await (await this.fetch(path, { signal, ...init })).json()) as T;
  }

  /** The same, to an address that takes JSON. @throws GatewayError */
  post<T>(path: string, body: object): Promise<T> {
    const headers = { "Content-Type": "application/json" };
    return this.json<T>(path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  /** A good answer, its body not read yet. @throws GatewayError */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const token = await this.#token();
    const headers = new Headers(init.headers);
    if (token !== null) headers.set("Authorization", `Bearer ${token}`);
    const response = await fetch(`${this.origin}${path}`, { ...init, headers }).catch((error: Error) => {
      throw new GatewayError("connection_lost", `The gateway was not reached: ${error.message}`, true);
    });
    if (!response.ok) throw await problem(response);
    return response;
  }

  /** Submits a task with its files, as a tar that is sent as it is made. @throws GatewayError */
  async upload({ idempotency_key, ...params }: SubmitParams, files: FileSet): Promise<Task> {
    const body = new FormData();
    // A blocking answer by HTTP is cut off after a minute; the task is waited for by its events.
    const task = JSON.stringify({ ...params, mode: "background" });
    body.append("task", new Blob([task], { type: "application/json" }));
    body.append("files", tar(files), "files.tar");
    const headers: Record<string, string> = idempotency_key ? { "Idempotency-Key": idempotency_key } : {};
    const signal = AbortSignal.timeout(UPLOAD_DEADLINE_MS);
    const response = await this.fetch("/v1/tasks", { method: "POST", headers, body, signal });
    return ((await response.json()) as { task: Task }).task;
  }
}

async function problem(response: Response): Promise<GatewayError> {
  const body = (await response.json().catch(() => ({}))) as Partial<Problem>;
  const message = body.detail ?? body.message ?? body.title ?? `HTTP ${response.status}`;
  const retryable = body.retryable ?? response.status >= 500;
  return new GatewayError(body.code ?? `http_${response.status}`, message, retryable, body.details ?? {});
}
