import type { FileEntry } from "./files.ts";

const TOUR = `#!/bin/sh
# Every line is sent the moment it is written.
for step in 1 2 3 4 5 6 7 8; do
  echo "step $step of 8"
  sleep 0.4
done
echo "this line went to stderr" >&2
`;

/** Needs nothing but a shell, so that it runs in any sandbox. */
export const EXAMPLE = {
  files: [{ path: "tour.sh", content: TOUR, bytes: TOUR.length }] satisfies FileEntry[],
  commands: ["sh tour.sh", "ls -l", 'echo "Hello from $(uname -s) in a sandbox"'],
};
