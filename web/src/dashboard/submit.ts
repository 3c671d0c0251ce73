import { GatewayError, type SandboxInput, type SubmitParams, type Task } from "../client/index.ts";
import type { FileEntry } from "./files.ts";
import { storedToken } from "./route.ts";
import { mergeTask, session, welcome } from "./store.ts";

/** Room for the frame's own keys beside the input. */
const FRAME_MARGIN = 4_096;
const HTTP_DEADLINE_MS = 120_000;
const NAME_CHARS = 120;

/** Submits commands and files, over the socket where they fit into a frame, else by HTTP. @throws GatewayError */
export async function submit(commands: string[], files: FileEntry[], key: string): Promise<string> {
  const input: SandboxInput = {
    files: Object.fromEntries(files.map(({ path, content }) => [path, content])),
    commands,
  };
  const params: SubmitParams = {
    agent: "sandbox",
    input,
    idempotency_key: key,
    labels: { name: shorten(commands[0] ?? "") },
  };
  const task = fitsIntoFrame(params) ? await bySocket(params) : await byHttp(params);
  mergeTask(task);
  return task.task_id;
}

function shorten(text: string): string {
  return text.length <= NAME_CHARS ? text : `${text.slice(0, NAME_CHARS - 1)}…`;
}

function fitsIntoFrame(params: SubmitParams): boolean {
  const limit = welcome.value?.limits.max_frame_bytes ?? 1_048_576;
  return new TextEncoder().encode(JSON.stringify(params)).length + FRAME_MARGIN <= limit;
}

async function bySocket(params: SubmitParams): Promise<Task> {
  const { submitted } = await session.submit(params);
  if (submitted === null) throw new GatewayError("internal", "The gateway answered without a task.");
  return submitted;
}

async function byHttp({ idempotency_key, ...params }: SubmitParams): Promise<Task> {
  const token = storedToken();
  const response = await fetch("/v1/tasks", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "Idempotency-Key": idempotency_key ?? "",
      ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ ...params, mode: "background" }),
    signal: AbortSignal.timeout(HTTP_DEADLINE_MS),
  }).catch((error: Error) => {
    throw new GatewayError("connection_lost", `The upload did not get through: ${error.message}`, true);
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw problem(response, body);
  return body.task as Task;
}

function problem(
  response: Response,
  body: { code?: string; detail?: string; title?: string; details?: object },
) {
  const message = body.detail ?? body.title ?? `HTTP ${response.status}`;
  return new GatewayError(body.code ?? `http_${response.status}`, message, response.status >= 500, {
    ...(body.details as GatewayError["details"]),
  });
}

/** The error in words, with the places that the gateway found wrong. */
export function explain(error: unknown): string {
  if (!(error instanceof GatewayError)) return String(error);
  const places = error.details.errors;
  if (!Array.isArray(places)) return error.message;
  const lines = places.map((place) => {
    const { loc, msg } = place as { loc?: (string | number)[]; msg?: string };
    return `${(loc ?? []).join(" › ")}: ${msg ?? ""}`;
  });
  return [error.message, ...lines].join("\n");
}
