import { signal } from "@preact/signals";

export type Route = { page: "home" } | { page: "new" } | { page: "task"; taskId: string };

const TOKEN_KEY = "gateway.token";

/** Where the page is, told by the part of its address after `#`, so that a link leads back to it. */
export const route = signal<Route>(parse(location.hash));

export function taskHref(taskId: string): string {
  return `#/tasks/${encodeURIComponent(taskId)}`;
}

export function go(href: string): void {
  location.hash = href;
}

export function parse(hash: string): Route {
  const taskId = /^#\/tasks\/([^/?&]+)/.exec(hash)?.[1];
  if (taskId !== undefined) return { page: "task", taskId: decode(taskId) };
  return hash.startsWith("#/new") ? { page: "new" } : { page: "home" };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Moves a token that came in the fragment (`#token=…`, also `#/tasks/ID&token=…`) out of the address bar, into this tab's storage. */
export function adoptToken(): void {
  const parts = location.hash.slice(1).split("&");
  const token = parts.find((part) => part.startsWith("token="));
  if (token !== undefined) {
    storeToken(decode(token.slice("token=".length)));
    const rest = parts.filter((part) => part !== token).join("&");
    history.replaceState(null, "", `${location.pathname}#${rest === "" ? "/" : rest}`);
  }
  route.value = parse(location.hash);
}

export function storeToken(token: string): void {
  sessionStorage.setItem(TOKEN_KEY, token.trim());
}

export function storedToken(): string | null {
  return sessionStorage.getItem(TOKEN_KEY);
}

addEventListener("hashchange", adoptToken);
