import assert from "node:assert/strict";
import { test } from "node:test";

import { EventRate } from "../src/dashboard/charts/event-rate.ts";
import { loadOf } from "../src/dashboard/charts/load.ts";

const at = (s: number) => new Date(s * 1000).toISOString();

test("a task waits from its submit to its start, and runs from there to its end", () => {
  const tasks = [
    { created_at: at(1_000), started_at: at(1_010), ended_at: at(1_030) },
    { created_at: at(1_020), started_at: null, ended_at: null },
    { created_at: at(10), started_at: at(20), ended_at: at(30) },
    { created_at: at(10), started_at: at(20), ended_at: null },
  ];
  const { times, waiting, running } = loadOf(tasks, 1_040_000, 50, 10);
  assert.deepEqual(times, [990, 1_000, 1_010, 1_020, 1_030, 1_040]);
  assert.deepEqual(waiting, [0, 1, 0, 1, 1, 1]);
  assert.deepEqual(running, [1, 1, 2, 2, 1, 1]);
});

test("a task that was cancelled while it waited never ran", () => {
  const tasks = [{ created_at: at(1_000), started_at: null, ended_at: at(1_020) }];
  const { waiting, running } = loadOf(tasks, 1_030_000, 30, 10);
  assert.deepEqual(
    [waiting, running],
    [
      [1, 1, 0, 0],
      [0, 0, 0, 0],
    ],
  );
});

test("events are counted by the second, and a second without any is there", () => {
  const rate = new EventRate();
  for (const second of [100, 100, 102]) rate.push(at(second));
  assert.deepEqual(rate.data(), [
    [100, 101, 102, 103],
    [2, 0, 1, 1],
  ]);
});

test("a day of events keeps a bounded number of steps, and loses no event", () => {
  const rate = new EventRate();
  for (let second = 0; second < 86_400; second += 10) rate.push(at(second));
  const [times, perSecond] = rate.data();
  assert.ok(times.length <= 241);
  assert.equal(rate.stepS, 512);
  assert.ok(perSecond.every((each) => Math.abs(each - 0.1) < 0.05));
});
