/** A draft on its way to the form: from a task's page, or from the form itself, which was left before it was sent. */

import type { Draft } from "./draft.ts";

interface Given {
  agent: string;
  draft: Draft;
  /** What its author is to know of it. */
  note: string | null;
}

let given: Given | null = null;

export function giveDraft(agent: string, draft: Draft, note: string | null = null): void {
  given = { agent, draft, note };
}

export function takeDraft(): Given | null {
  const taken = given;
  given = null;
  return taken;
}
