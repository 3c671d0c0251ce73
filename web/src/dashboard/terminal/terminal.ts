/** xterm.js as this page uses it: it shows, and never answers. Loaded when a terminal is first looked at. */

import "@xterm/xterm/css/xterm.css";

import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Terminal } from "@xterm/xterm";

import type { Sink } from "../output.ts";
import { safeUrl } from "../task-model.ts";
import { documentWithinPolicy, styleByObjectModel, withinPolicy } from "./styles.ts";

styleByObjectModel();

const SCROLLBACK_LINES = 50_000;
/** What waits to be parsed; more makes whoever writes wait. */
const MAX_WAITING_CHARS = 512 * 1024;

const THEME = {
  background: "#0d1117",
  foreground: "#dbe2ee",
  cursor: "#0d1117",
  selectionBackground: "#3b4f8a",
  black: "#3b4252",
  red: "#ff8b80",
  green: "#7fd8a0",
  yellow: "#ecc27b",
  blue: "#8fb0ff",
  magenta: "#d7a6ff",
  cyan: "#7fd4e6",
  white: "#dbe2ee",
  brightBlack: "#8a94a8",
  brightRed: "#ffaba2",
  brightGreen: "#a4e9bf",
  brightYellow: "#f7d89f",
  brightBlue: "#b3caff",
  brightMagenta: "#e6c8ff",
  brightCyan: "#a9e6f2",
  brightWhite: "#ffffff",
};

export interface Screen {
  readonly write: Sink;
  search(text: string, isBackwards: boolean): boolean;
  follow(): void;
  fit(): void;
  dispose(): void;
}

/** Opens a terminal in `element`; `onFollow` is told whether the newest line is in sight. */
export function openScreen(element: HTMLElement, onFollow: (isFollowing: boolean) => void): Screen {
  const terminal = new Terminal({
    allowProposedApi: true,
    convertEol: true,
    cursorInactiveStyle: "none",
    disableStdin: true,
    documentOverride: documentWithinPolicy(),
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    fontSize: 13,
    lineHeight: 1.25,
    // What a task writes is no error of the page's, to be told in the browser's console.
    logLevel: "off",
    linkHandler: { activate: (_event, url) => openLink(url), allowNonHttpProtocols: false },
    minimumContrastRatio: 4.5,
    scrollback: SCROLLBACK_LINES,
    theme: THEME,
  });
  const fitting = new FitAddon();
  const searching = new SearchAddon();
  terminal.loadAddon(fitting);
  terminal.loadAddon(searching);
  keepHistory(terminal);
  // A key is the page's, and Tab leads on; only what scrolls is the terminal's.
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.type === "keydown") scrollByKey(terminal, event);
    return false;
  });
  withinPolicy(() => terminal.open(element));
  fitting.fit();
  const observer = new ResizeObserver(() => fitting.fit());
  observer.observe(element);
  terminal.onScroll(() => onFollow(isAtEnd(terminal)));
  // A person's scrolling is told by the viewport alone.
  element.addEventListener("wheel", () => setTimeout(() => onFollow(isAtEnd(terminal)), 50), {
    passive: true,
  });
  return {
    write: writer(terminal),
    search: (text, isBackwards) => (isBackwards ? searching.findPrevious(text) : searching.findNext(text)),
    follow: () => {
      terminal.scrollToBottom();
      onFollow(true);
    },
    fit: () => fitting.fit(),
    dispose: () => {
      observer.disconnect();
      terminal.dispose();
    },
  };
}

function writer(terminal: Terminal): Sink {
  let waiting = 0;
  return (text) =>
    new Promise((resolve) => {
      waiting += text.length;
      const hasRoom = waiting < MAX_WAITING_CHARS;
      terminal.write(text, () => {
        waiting -= text.length;
        if (!hasRoom) resolve();
      });
      if (hasRoom) resolve();
    });
}

/** What a task writes may not take back what it has written: no other screen, no reset, no emptied history. */
function keepHistory(terminal: Terminal): void {
  const screens = new Set<number | number[]>([47, 1047, 1049]);
  const isOtherScreen = (params: (number | number[])[]) => params.some((param) => screens.has(param));
  terminal.parser.registerCsiHandler({ final: "J" }, (params) => params[0] === 3);
  terminal.parser.registerCsiHandler({ prefix: "?", final: "h" }, isOtherScreen);
  terminal.parser.registerCsiHandler({ prefix: "?", final: "l" }, isOtherScreen);
  terminal.parser.registerEscHandler({ final: "c" }, () => true);
}

function isAtEnd({ buffer }: Terminal): boolean {
  return buffer.active.viewportY >= buffer.active.baseY;
}

function scrollByKey(terminal: Terminal, event: KeyboardEvent): void {
  const page = terminal.rows - 1;
  const lines = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page }[event.key];
  if (lines !== undefined) terminal.scrollLines(lines);
  else if (event.key === "Home") terminal.scrollToTop();
  else if (event.key === "End") terminal.scrollToBottom();
  else return;
  event.preventDefault();
}

function openLink(url: string): void {
  const safe = safeUrl(url);
  if (safe !== null && confirm(`The task names this address. Open it?\n\n${safe}`)) {
    window.open(safe, "_blank", "noopener,noreferrer");
  }
}
