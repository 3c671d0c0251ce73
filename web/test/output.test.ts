import assert from "node:assert/strict";
import { test } from "node:test";

import type { EventData, EventName, TaskEvent } from "../src/client/index.ts";
import { Output } from "../src/dashboard/output.ts";
import { wholeLog } from "../src/dashboard/whole-log.ts";

let seq = 0;

function event<Name extends EventName>(name: Name, data: EventData[Name]): TaskEvent {
  seq += 1;
  return { type: "event", task_id: "t-1", seq, event: name, time: "", data } as TaskEvent;
}

function stdout(text: string): TaskEvent {
  return event("output", { stream: "stdout", text, command: 0 });
}

async function outputOf(...events: TaskEvent[]): Promise<Output> {
  const output = new Output();
  for (const one of events) await output.push(one);
  return output;
}

test("as text, what a terminal would act on is gone and a rewritten line is its last", async () => {
  seq = 0;
  const output = await outputOf(
    stdout("\x1b[31mred\x1b[0m\n1 %\r2 %\r3 %\n"),
    stdout("\x1b]0;title\x07end\x1b["),
  );
  assert.equal(output.text(), "red\n3 %\nend");
});

test("a command and its end stand on lines of their own, and can't be written into", async () => {
  seq = 0;
  const output = await outputOf(
    event("command", { index: 0, command: "echo \x1b[2Jhi", exit_code: null }),
    stdout("no newline"),
    event("command", { index: 0, command: "echo hi", exit_code: 3, reason: "exit" }),
  );
  assert.equal(output.text(), "$ echo hi\nno newline⏎\n✗ exit code 3\n");
});

test("what the log has no more, and what was left out, is said", async () => {
  seq = 4;
  const gap = event("output_gap", { stream: "stdout", dropped_bytes: 1_234, reason: "limit" });
  const output = await outputOf(gap);
  assert.match(output.text(), /Events 1 to 4 are not kept/);
  assert.match(output.text(), /1,234 bytes of stdout were left out \(limit\)/);
});

test("what is kept is bounded, and a screen that comes later is shown all of it", async () => {
  seq = 0;
  const output = new Output();
  for (let n = 0; n < 200; n += 1) await output.push(stdout("x".repeat(65_536)));
  assert.ok(output.droppedChars > 4_000_000);
  let shown = 0;
  const hide = output.show(async (text) => {
    shown += text.length;
  });
  assert.ok(shown > 7_000_000 && shown <= 8_400_000);
  await output.push(stdout("more"));
  hide();
  const before = shown;
  await output.push(stdout("unseen"));
  assert.equal(shown, before);
});

test("as text, only the newest lines are shown where that is asked, and the others are told", async () => {
  seq = 0;
  const output = await outputOf(stdout("1\n2\n3\n4"));
  assert.equal(output.text(2), "▸ 2 lines before these: Copy and Save have them.\n3\n4");
  assert.equal(output.text(), "1\n2\n3\n4");
});

test("a whole log is saved page by page as it reads at once, also lines and sequences cut by a page", async () => {
  seq = 0;
  const events = [
    event("command", { index: 0, command: "make", exit_code: null }),
    ...["1 %\r", "2 %\r", "3 %\r", "\n\x1b[3", "1mred\x1b[0m\nno ", "newline"].map(stdout),
    event("command", { index: 0, command: "make", exit_code: 0, reason: "exit" }),
    stdout("x".repeat(9_000_000)),
  ];
  const shares: number[] = [];
  const page = async (after: number) => ({
    events: events.slice(after, after + 1),
    first_seq: 1,
    last_seq: events.length,
  });
  const saved = await (await wholeLog(page as never, (share) => shares.push(share))).text();
  assert.equal(saved, `$ make\n3 %\nred\nno newline⏎\n✓ exit code 0\n${"x".repeat(9_000_000)}`);
  assert.equal(shares.length, events.length);
  assert.equal(shares.at(-1), 1);
});

test("only a new attempt is told as one: what goes on behind a pause goes on", async () => {
  seq = 0;
  const output = await outputOf(
    event("status", { status: "running", previous: "pending", attempt: 2 }),
    event("status", { status: "paused", previous: "running", attempt: 2 }),
    event("status", { status: "running", previous: "paused", attempt: 2 }),
  );
  assert.equal(output.text().match(/Attempt 2 begins/g)?.length, 1);
});
