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

/** Moves a token that came in the fragment (`#token=…`) out of the address bar, into this tab's storage. */
export function adoptToken(): void {
  const found = /[#&?]token=([^&]*)&?/.exec(location.hash);
  if (found !== null) {
    storeToken(decode(found[1] ?? ""));
    const rest = location.hash.replace(found[0], "");
    history.replaceState(null, "", location.pathname + (rest === "" ? "#/" : rest));
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
