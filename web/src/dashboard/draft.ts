/** A task that is being written: what its form holds, and what that says on the wire. */

import type { SubmitParams } from "../client/index.ts";
import type { FileEntry } from "./file-entry.ts";

export interface Draft {
  /** One a line; for the agent `sandbox`. */
  commands: string;
  files: FileEntry[];
  /** The other keys of the input. */
  rest: { [key: string]: unknown };
  /** The keys beside the input: labels, priority and their like. */
  options: { [key: string]: unknown };
}

const NAME_CHARS = 120;

export function emptyDraft(): Draft {
  return { commands: "", files: [], rest: {}, options: {} };
}

/** Why it can't be submitted, or null. */
export function problemOf(agent: string, draft: Draft): string | null {
  const { files } = draft;
  const twice = files.find((file, index) => files.findIndex((other) => other.path === file.path) !== index);
  if (twice !== undefined) return `Two files are called ${twice.path}.`;
  if (agent === "sandbox" && commandsOf(draft).length === 0) return "Write at least one command.";
  return null;
}

/** As `submit_task` takes it, files included. */
export function paramsOf(agent: string, draft: Draft): SubmitParams {
  const { name, labels, ...options } = draft.options;
  const called = typeof name === "string" && name !== "" ? name : nameOf(agent, draft);
  const all = { ...labelsOf(labels), ...(called === "" ? {} : { name: called }) };
  return {
    agent,
    input:
      agent === "sandbox" ? { ...draft.rest, commands: commandsOf(draft), ...filesOf(draft) } : draft.rest,
    ...options,
    ...(Object.keys(all).length === 0 ? {} : { labels: all }),
  } as SubmitParams;
}

/** Lines of `key=value`; a line without a value is a label that is there. */
function labelsOf(lines: unknown): { [key: string]: string } {
  if (!Array.isArray(lines)) return {};
  return Object.fromEntries(
    lines.map((line: string) => {
      const [key = "", ...value] = line.split("=");
      return [key.trim(), value.join("=").trim()];
    }),
  );
}

function commandsOf({ commands }: Draft): string[] {
  return commands.split("\n").filter((line) => line.trim() !== "");
}

function filesOf({ files }: Draft) {
  if (files.length === 0) return {};
  return { files: Object.fromEntries(files.map(({ path, content }) => [path, content])) };
}

function nameOf(agent: string, draft: Draft): string {
  const text = agent === "sandbox" ? (commandsOf(draft)[0] ?? "") : String(draft.rest.task ?? "");
  return text.length <= NAME_CHARS ? text : `${text.slice(0, NAME_CHARS - 1)}…`;
}

/** The draft that a task was made of, to be run again or changed. */
export function draftOf(agent: string, input: { [key: string]: unknown }): Draft {
  if (agent !== "sandbox") return { ...emptyDraft(), rest: input };
  const {
    commands = [],
    files = {},
    ...rest
  } = input as {
    commands?: (string | object)[];
    files?: { [path: string]: FileEntry["content"] };
  };
  const lines = commands.map((command) => (typeof command === "string" ? command : JSON.stringify(command)));
  const entries = Object.entries(files).map(([path, content]) => {
    const bytes =
      typeof content === "string" ? new TextEncoder().encode(content).length : content.base64.length;
    return { path, content, bytes };
  });
  return { commands: lines.join("\n"), files: entries, rest, options: {} };
}
