/** What a newcomer can run with one click. */

import type { Draft } from "./draft.ts";
import { emptyDraft } from "./draft.ts";
import type { FileEntry } from "./file-entry.ts";

export interface Example {
  title: string;
  about: string;
  agent: string;
  draft: Draft;
}

const TOUR = `#!/bin/sh
# Every line is sent the moment it is written.
bar() { printf '\\r\\033[36m%3d %%\\033[0m ' "$1"; for i in $(seq $(($1 / 5))); do printf '█'; done; }
printf '\\033[1mA tour of the sandbox\\033[0m\\n'
printf 'kernel  \\033[32m%s\\033[0m\\n' "$(uname -sr)"
printf 'user    \\033[32m%s\\033[0m\\n' "$(id -un 2>/dev/null || id -u)"
printf 'network \\033[33m%s\\033[0m\\n' "none: nothing gets out of here"
for step in $(seq 0 5 100); do bar "$step"; sleep 0.08; done
printf '\\n'
for colour in 31 32 33 34 35 36; do printf '\\033[%sm●\\033[0m ' "$colour"; done
printf '\\n'
echo "this line went to stderr" >&2
`;

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Hello from a sandbox</title>
<style>
  body { display: grid; place-content: center; min-height: 100vh; margin: 0; font: 1.2rem system-ui; text-align: center;
         background: linear-gradient(135deg, #4c5fd5, #8a4fd3); color: white }
</style>
<h1>Hello from a sandbox</h1>
<p>This page has an origin of its own, and no network.</p>
<p id="time"></p>
<script>
  setInterval(() => { document.getElementById("time").textContent = new Date().toLocaleTimeString(); }, 500);
</script>
`;

const TALK = `printf "What is your name? "
read name
echo "Hello, $name. I was written in a shell."
`;

function file(path: string, content: string): FileEntry {
  return { path, content, bytes: new TextEncoder().encode(content).length };
}

export const EXAMPLES: Example[] = [
  {
    title: "A tour",
    about: "A script with colours and a progress bar, line by line as it is written.",
    agent: "sandbox",
    draft: { ...emptyDraft(), commands: "sh tour.sh\nls -l", files: [file("tour.sh", TOUR)] },
  },
  {
    title: "A web site",
    about: "A page served out of the sandbox, shown beside its task.",
    agent: "sandbox",
    draft: { ...emptyDraft(), commands: "serve", files: [file("index.html", PAGE)] },
  },
  {
    title: "A conversation",
    about: "A script that asks your name, and waits for it.",
    agent: "sandbox",
    draft: {
      ...emptyDraft(),
      commands: "sh talk.sh",
      files: [file("talk.sh", TALK)],
      rest: { stdin: true },
    },
  },
  {
    title: "An agent at work",
    about: "It plans, writes and serves a page, with a checkpoint after each phase to go back to.",
    agent: "frontend_developer",
    draft: {
      ...emptyDraft(),
      rest: { task: "A landing page for a small bakery: opening hours, what is fresh, how to find us" },
    },
  },
];
