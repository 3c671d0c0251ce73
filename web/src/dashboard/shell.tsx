import { ConnectionPill } from "./connection-pill.tsx";
import { Icon, type IconName } from "./icons.tsx";
import { openHelp, openPalette } from "./overlays.ts";
import { offers, type Page, route } from "./route.ts";
import { welcome } from "./store.ts";
import { nextTheme, theme } from "./theme.ts";

const PLACES: { href: string; word: string; icon: IconName; pages: [Page, ...Page[]] }[] = [
  { href: "#/", word: "Tasks", icon: "tasks", pages: ["tasks", "task"] },
  { href: "#/new", word: "New task", icon: "plus", pages: ["new"] },
  { href: "#/workflows", word: "Workflows", icon: "workflows", pages: ["workflows", "workflow"] },
  { href: "#/sandboxes", word: "Sandboxes", icon: "sandboxes", pages: ["sandboxes"] },
];
const THEMES = { system: "screen", light: "sun", dark: "moon" } as const;

/** What is on every page: beside it on a wide screen, around it on a narrow one. */
export function Shell() {
  return (
    <header class="shell">
      <button type="button" class="skip" onClick={toMain}>
        Skip to the page
      </button>
      <a class="brand" href="#/" aria-label="Sentient Gateway">
        <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
          <rect width="32" height="32" rx="8" class="brand-tile" />
          <path d="M8 11l5 5-5 5M16 21h8" class="brand-mark" />
        </svg>
        <span>Sentient Gateway</span>
      </a>
      <nav class="places" aria-label="Pages">
        {PLACES.filter(({ pages: [page] }) => offers(page)).map(({ href, word, icon, pages }) => (
          <a key={href} href={href} aria-current={pages.includes(route.value.page) ? "page" : undefined}>
            <Icon name={icon} />
            <span>{word}</span>
          </a>
        ))}
      </nav>
      <div class="shell-tools">
        <button type="button" class="tool" onClick={openPalette}>
          <Icon name="search" />
          <span>Go anywhere</span>
          <kbd>{isMac ? "⌘K" : "Ctrl K"}</kbd>
        </button>
        <button type="button" class="tool" onClick={openHelp}>
          <span class="icon-text" aria-hidden="true">
            ?
          </span>
          <span>Keyboard</span>
        </button>
        <button type="button" class="tool" onClick={nextTheme} title={`Theme: ${theme.value}`}>
          <Icon name={THEMES[theme.value]} />
          <span>Theme: {theme.value}</span>
        </button>
      </div>
      <div class="shell-foot">
        <ConnectionPill />
        <Subject />
      </div>
    </header>
  );
}

const isMac = navigator.userAgent.includes("Mac");

function Subject() {
  const subject = welcome.value?.subject;
  if (subject === undefined || subject === "anonymous") return null;
  return <span class="subject">{subject}</span>;
}

/** The address after `#` is ours, so the browser can't jump by it. */
function toMain(): void {
  document.getElementById("main")?.focus();
}
