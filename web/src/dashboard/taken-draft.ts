/** A draft on its way from a task's page to the form. */

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
