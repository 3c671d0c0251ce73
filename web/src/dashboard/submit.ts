import { GatewayError, type SubmitParams, type TaskHandle } from "../client/index.ts";
import { type Draft, paramsOf } from "./draft.ts";
import type { FileEntry } from "./file-entry.ts";
import { mergeTask, newKey, session, welcome } from "./store.ts";

/** Room for the frame's own keys beside the input. */
const FRAME_MARGIN = 4_096;

/** Submits what is drafted, over the socket where it fits into a frame, else by HTTP. @throws GatewayError */
export async function submit(agent: string, draft: Draft, key: string = newKey()): Promise<string> {
  const params: SubmitParams = { ...paramsOf(agent, draft), mode: "background", idempotency_key: key };
  const handle = fitsIntoFrame(params) ? await session.submit(params) : await upload(params, draft.files);
  if (handle.submitted !== null) mergeTask(handle.submitted);
  return handle.taskId;
}

function fitsIntoFrame(params: SubmitParams): boolean {
  const limit = welcome.value?.limits.max_frame_bytes ?? 1_048_576;
  return new TextEncoder().encode(JSON.stringify(params)).length + FRAME_MARGIN <= limit;
}

function upload(params: SubmitParams, files: FileEntry[]): Promise<TaskHandle> {
  const { files: _, ...input } = params.input as { files?: unknown };
  return session.upload(
    { ...params, input } as SubmitParams,
    files.map(
      ({ path, content }) => [path, typeof content === "string" ? content : bytesOf(content.base64)] as const,
    ),
  );
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
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
