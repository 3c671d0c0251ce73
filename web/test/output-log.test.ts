import assert from "node:assert/strict";
import { test } from "node:test";

import type { EventData, EventName, TaskEvent } from "../src/client/index.ts";
import { MAX_LINES, OutputLog } from "../src/dashboard/output-log.ts";

class Story {
  readonly log = new OutputLog();
  #seq = 0;

  tells<Name extends EventName>(event: Name, data: EventData[Name], seq = this.#seq + 1): this {
    this.#seq = seq;
    this.log.push({ type: "event", task_id: "t-1", seq, event, time: "", data } as TaskEvent);
    return this;
  }

  out(text: string, seq?: number): this {
    return this.tells("output", { stream: "stdout", text, command: 0 }, seq);
  }

  err(text: string): this {
    return this.tells("output", { stream: "stderr", text, command: 0 });
  }

  get lines(): string[] {
    return this.log.lines.map((line) => `${line.kind}: ${line.text}`);
  }
}

test("lines are put together from pieces, each stream its own", () => {
  const story = new Story().out("one\ntw").err("warn").out("o\n").err("ing\n").out("\nthree");
  assert.deepEqual(story.lines, [
    "stdout: one",
    "stdout: two",
    "stderr: warning",
    "stdout: ",
    "stdout: three",
  ]);
});

test("a carriage return writes a line anew, with a newline it only ends it", () => {
  const story = new Story().out("10 %\r20 %\r").out("30 %\n").out("dos\r").out("\nend\r\n");
  assert.deepEqual(story.lines, ["stdout: 30 %", "stdout: dos", "stdout: end"]);
});

test("escape sequences go, also where a piece ends within one, and markup stays text", () => {
  const story = new Story()
    .out("\x1b[31mred\x1b[")
    .out("0m \x1b]0;title\x07<b>no</b>\x1b]8;;http://x\x1b\\")
    .out("\x07!\x00\n");
  assert.deepEqual(story.lines, ["stdout: red <b>no</b>!"]);
});

test("a sequence that never ends does not hold back what follows without bound", () => {
  const story = new Story().out(`\x1b]${"x".repeat(5_000)}`).out("seen\n");
  assert.deepEqual(story.lines, ["stdout: seen"]);
});

test("a command shows its line, its exit code, or why it has none", () => {
  const start = { index: 0, command: "make", exit_code: null };
  const story = new Story()
    .tells("command", start)
    .out("no newline")
    .tells("command", { ...start, exit_code: 0, reason: "exit" })
    .tells("command", { ...start, exit_code: 2, reason: "exit" })
    .tells("command", { ...start, reason: "timeout" });
  const expected = [
    "command: make",
    "stdout: no newline",
    "good: exit code 0",
    "bad: exit code 2",
    "bad: ended: timeout",
  ];
  assert.deepEqual(story.lines, expected);
});

test("what is missing is said: output left out, events not kept, an attempt that begins anew", () => {
  const story = new Story()
    .out("a\n", 5)
    .tells("output_gap", { stream: "stdout", dropped_bytes: null, reason: "limit" })
    .tells("output_gap", { stream: "stdout", dropped_bytes: 1_234, reason: "limit" })
    .tells("status", { status: "pending", previous: "running", attempt: 1, reason: "sandbox_lost" })
    .tells("status", { status: "running", previous: "pending", attempt: 2 });
  assert.deepEqual(story.lines, [
    "note: Events 1 to 4 are not kept any more.",
    "stdout: a",
    "note: From here on stdout is left out (limit).",
    "note: 1,234 bytes of stdout were left out (limit).",
    "note: Its place was lost (sandbox_lost).",
    "note: Attempt 2 begins; it replaces the output above.",
  ]);
});

test("lines are bounded, and those that left are counted", () => {
  const story = new Story();
  for (let n = 1; n <= 12_345; n += 1) story.out(`${n}\n`);
  const { lines, dropped } = story.log;
  assert.ok(lines.length <= MAX_LINES);
  assert.equal(lines.length + dropped, 12_345);
  assert.equal(lines.at(-1)?.text, "12345");
});

test("a line is bounded, and what it does not show is counted", () => {
  const story = new Story().out("x".repeat(1_000_000)).out("\nnext\n");
  const [first, next] = story.log.lines;
  assert.equal((first?.text.length ?? 0) + (first?.hiddenChars ?? 0), 1_000_000);
  assert.ok((first?.text.length ?? 0) < 10_000);
  assert.equal(next?.text, "next");
});
