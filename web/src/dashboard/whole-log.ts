/** All of a task's output as a text, however long: more than a page keeps of it. */

import type { EventPage, TaskEvent } from "../client/index.ts";
import { PlainLines } from "./plain-text.ts";
import { Wording } from "./wording.ts";

/** Gets a page of the log. */
export type GetPage = (afterSeq: number) => Promise<EventPage>;

/**
 * Read page by page, up to what is its last event now. What has become text is the browser's to keep, not the
 * script's; `onShare` hears how much there is, from 0 to 1.
 */
export async function wholeLog(getPage: GetPage, onShare: (share: number) => void): Promise<Blob> {
  const [wording, plain] = [new Wording(), new PlainLines()];
  const parts: Blob[] = [];
  let page = await getPage(0);
  const last = page.last_seq;
  while (page.events.length > 0) {
    const said = page.events.map((event) => wording.of(event as TaskEvent)).join("");
    parts.push(new Blob(plain.take(said).map((line) => `${line}\n`)));
    const seq = page.events.at(-1)?.seq ?? last;
    onShare(seq / last);
    if (seq >= last) break;
    page = await getPage(seq);
  }
  return new Blob([...parts, plain.open], { type: "text/plain" });
}
