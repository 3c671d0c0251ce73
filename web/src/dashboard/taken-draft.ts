/** A draft on its way to the form: from a task's page, or from the form itself, which was left before it was sent. */

import type { Draft } from "./draft.ts";

let given: { agent: string; draft: Draft } | null = null;

export function giveDraft(agent: string, draft: Draft): void {
  given = { agent, draft };
}

export function takeDraft(): { agent: string; draft: Draft } | null {
  const taken = given;
  given = null;
  return taken;
}
