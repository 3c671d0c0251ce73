/** What single keys do, wherever nobody is writing. */

import { openHelp, openPalette, overlay } from "./overlays.ts";
import { go, offers, type Page, route } from "./route.ts";

export const KEYS: { keys: string[]; about: string }[] = [
  { keys: ["Ctrl K", "⌘K"], about: "Go anywhere, do anything" },
  { keys: ["/"], about: "Search" },
  { keys: ["j", "k"], about: "Next and previous in a list" },
  { keys: ["Enter"], about: "Open what is marked" },
  { keys: ["n"], about: "New task" },
  { keys: ["t", "w", "s"], about: "Tasks, workflows, sandboxes" },
  { keys: ["p"], about: "Pause or resume the task that is shown" },
  { keys: ["x"], about: "Cancel the task that is shown" },
  { keys: ["l"], about: "A link to the task that is shown" },
  { keys: ["Esc"], about: "Close, leave a field, or back to the list" },
  { keys: ["?"], about: "This help" },
];

const PAGES: { [key: string]: { page: Page; href: string } } = {
  n: { page: "new", href: "#/new" },
  t: { page: "tasks", href: "#/" },
  w: { page: "workflows", href: "#/workflows" },
  s: { page: "sandboxes", href: "#/sandboxes" },
};

/** Of the page that is shown, by key; each page brings its own. */
export const pageKeys = new Map<string, () => void>();

export function startKeys(): void {
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openPalette();
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey && overlay.value === null) pressed(event);
  });
}

function pressed(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  const isWriting = target.matches("input, textarea, select") && !target.matches(".xterm-helper-textarea");
  if (isWriting) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const action = pageKeys.get(event.key) ?? GLOBAL[event.key];
  if (action === undefined) return;
  event.preventDefault();
  action();
}

const GLOBAL: { [key: string]: () => void } = {
  "?": openHelp,
  "/": () => document.querySelector<HTMLInputElement>('main input[type="search"]')?.focus(),
  j: () => step(1),
  k: () => step(-1),
  Escape: () => {
    if (route.value.page === "task") go("#/");
    if (route.value.page === "workflow") go("#/workflows");
  },
  ...Object.fromEntries(Object.entries(PAGES).map(([key, place]) => [key, () => goIfOffered(place)])),
};

function goIfOffered({ page, href }: { page: Page; href: string }): void {
  if (offers(page)) go(href);
}

/** Where a list is shown whole, its links are what is stepped through. */
function step(by: number): void {
  const links = [...document.querySelectorAll<HTMLElement>("main [data-step]")];
  const at = links.indexOf(document.activeElement as HTMLElement);
  links[at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
}
