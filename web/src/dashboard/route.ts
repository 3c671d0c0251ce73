/** Where the page is, told by the part of its address after `#`, so that a link leads back to it. */

import { signal } from "@preact/signals";

import { canSteer, guestUntil, storeToken } from "./identity.ts";

export type Page = "tasks" | "new" | "task" | "workflows" | "workflow" | "sandboxes";

export interface Route {
  page: Page;
  /** Of what the page shows; empty where it shows a list. */
  id: string;
  query: URLSearchParams;
}

export const route = signal<Route>(parse(location.hash));

export function taskHref(taskId: string): string {
  return `#/tasks/${encodeURIComponent(taskId)}`;
}

export function workflowHref(workflowId: string): string {
  return `#/workflows/${encodeURIComponent(workflowId)}`;
}

export function go(href: string): void {
  location.hash = href;
}

/** Changes the query of where we are, without a step in the history; an empty value goes. */
export function setQuery(changes: { [key: string]: string }): void {
  const query = new URLSearchParams(route.value.query);
  for (const [key, value] of Object.entries(changes)) {
    if (value === "") query.delete(key);
    else query.set(key, value);
  }
  const path = location.hash.split("?")[0] || "#/";
  const text = query.toString();
  history.replaceState(null, "", text === "" ? path : `${path}?${text}`);
  route.value = parse(location.hash);
}

export function parse(hash: string): Route {
  const [path = "", text = ""] = hash.replace(/^#\/?/, "").split("?");
  const [first = "", second = ""] = path.split("/").map(decode);
  const query = new URLSearchParams(text);
  const at = (page: Page, id = ""): Route => ({ page, id, query });
  if (first === "tasks" && second !== "") return at("task", second);
  if (first === "workflows") return second === "" ? at("workflows") : at("workflow", second);
  if (first === "new" || first === "sandboxes") return at(first);
  return at("tasks");
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * Moves a token that came in the fragment (`#token=…`, also `#/tasks/ID&token=…`) out of the address bar, into this tab's
 * storage; whether there was one.
 */
export function adoptToken(): boolean {
  const parts = location.hash.slice(1).split("&");
  const token = parts.find((part) => part.startsWith("token="));
  if (token !== undefined) {
    storeToken(decode(token.slice("token=".length)));
    const rest = parts.filter((part) => part !== token).join("&");
    history.replaceState(null, "", `${location.pathname}#${rest === "" ? "/" : rest}`);
  }
  route.value = parse(location.hash);
  return token !== undefined;
}

addEventListener("hashchange", () => {
  // Whoever the page was for, it is somebody else's now.
  if (adoptToken()) location.reload();
});

/** Whether a page is any use to whoever is here. */
export function offers(page: Page): boolean {
  if (guestUntil.value !== null) return page === "tasks" || page === "task";
  return page !== "new" || canSteer.value;
}
