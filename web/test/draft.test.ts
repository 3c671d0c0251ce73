import assert from "node:assert/strict";
import { test } from "node:test";

import { draftOf, emptyDraft, paramsOf, problemOf } from "../src/dashboard/draft.ts";

const FILE = { path: "a.txt", content: "x", bytes: 1 };

test("a draft says what the form holds: commands, files, labels, and no option that was left alone", () => {
  const draft = {
    ...emptyDraft(),
    commands: "ls\n\n  \npwd\n",
    files: [FILE],
    rest: { stdin: true },
    options: { labels: ["team=web", "note=a=b", "alone"], priority: 2 },
  };
  assert.deepEqual(paramsOf("sandbox", draft), {
    agent: "sandbox",
    input: { stdin: true, commands: ["ls", "pwd"], files: { "a.txt": "x" } },
    priority: 2,
    labels: { team: "web", note: "a=b", alone: "", name: "ls" },
  });
});

test("a task's input becomes the draft that says the same", () => {
  const input = { commands: ["ls"], files: { "a.txt": "x" }, stdin: true };
  assert.deepEqual(paramsOf("sandbox", draftOf("sandbox", input)).input, input);
  const other = { task: "a page", rows: 3 };
  assert.deepEqual(paramsOf("gardener", draftOf("gardener", other)).input, other);
});

test("what can't be submitted is told before it is sent", () => {
  assert.equal(problemOf("sandbox", emptyDraft()), "Write at least one command.");
  const twice = { ...emptyDraft(), commands: "ls", files: [FILE, FILE] };
  assert.equal(problemOf("sandbox", twice), "Two files are called a.txt.");
  assert.equal(problemOf("gardener", emptyDraft()), null);
});
