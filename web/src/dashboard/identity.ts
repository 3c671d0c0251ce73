/** Whose the page is: somebody's own token, or one that came with a link and shows a task; a link's leaves the own one alone. */

import { computed, signal } from "@preact/signals";

const OWN_KEY = "gateway.token";
const SHARED_KEY = "gateway.shared";
/** A gateway that asks nobody who they are gives everybody this name. */
const ANYBODY = "anonymous";

interface Claims {
  scope?: unknown;
  tasks?: unknown;
  exp?: unknown;
}

/** As the gateway has said it; null before its first word. */
export const subject = signal<string | null>(null);
const token = signal(storedToken());

/** Until when the link works through which the page was opened, in ms since 1970; null for whoever came as themselves. */
export const guestUntil = computed(() => {
  if (token.value === null || !isShared(token.value)) return null;
  const { exp } = claimsOf(token.value);
  return typeof exp === "number" ? exp * 1000 : Number.POSITIVE_INFINITY;
});

/** What is offered, not what is allowed: that is the gateway's to say. */
export const canSteer = computed(() => {
  if (token.value === null || subject.value === ANYBODY) return true;
  const scopes = String(claimsOf(token.value).scope ?? "").split(" ");
  return scopes.includes("tasks:write") || scopes.includes("admin");
});

/** The token to come in with: the link's, in a tab that was opened by one. */
export function storedToken(): string | null {
  return sessionStorage.getItem(SHARED_KEY) ?? sessionStorage.getItem(OWN_KEY);
}

export function storeToken(given: string): void {
  const text = given.trim();
  if (isShared(text)) sessionStorage.setItem(SHARED_KEY, text);
  else {
    sessionStorage.setItem(OWN_KEY, text);
    sessionStorage.removeItem(SHARED_KEY);
  }
  token.value = storedToken();
}

/** Back to who one was before the link. */
export function leaveLink(): void {
  sessionStorage.removeItem(SHARED_KEY);
  location.assign("/#/");
  location.reload();
}

function isShared(text: string): boolean {
  return Array.isArray(claimsOf(text).tasks);
}

/** What a token says of itself, unchecked; nothing, where it is none. */
function claimsOf(text: string): Claims {
  try {
    const body = (text.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    return (JSON.parse(atob(body)) as Claims | null) ?? {};
  } catch {
    return {};
  }
}
