import assert from "node:assert/strict";
import { test } from "node:test";

import type { EventData, TaskEvent } from "../src/client/index.ts";
import { safeUrl, TaskModel } from "../src/dashboard/task-model.ts";

function status(data: Partial<EventData["status"]>): TaskEvent {
  const full = { status: "running", previous: null, attempt: 1, ...data } as EventData["status"];
  return { type: "event", task_id: "t-1", seq: 1, event: "status", time: "", data: full };
}

test("the exit code is the result's, or the error's, or none", () => {
  const model = new TaskModel();
  assert.equal(model.exitCode, null);
  model.push(status({ status: "completed", result: { exit_code: 0 } }));
  assert.equal(model.exitCode, 0);
  const details = { exit_code: 3, reason: "exit" };
  model.push(status({ status: "failed", error: { code: "command_failed", message: "", details } }));
  assert.equal(model.exitCode, 3);
});

test("only an http address becomes a link", () => {
  assert.equal(safeUrl("http://127.0.0.1:5/"), "http://127.0.0.1:5/");
  for (const url of ["javascript:alert(1)", "data:text/html,x", "//host", null, 5])
    assert.equal(safeUrl(url), null);
});

test("the timeline is bounded to its newest moments", () => {
  const model = new TaskModel();
  for (let attempt = 1; attempt <= 1_000; attempt += 1) model.push(status({ attempt }));
  assert.ok(model.moments.length <= 200);
  assert.equal(model.moments.at(-1)?.attempt, 1_000);
});

test("a life is told in stretches: queue, sandbox, run, pause, and the next attempt's own", () => {
  const model = new TaskModel();
  const at = (s: number, event: TaskEvent): void => {
    model.push({ ...event, time: new Date(s * 1_000).toISOString() });
  };
  const output = {
    type: "event",
    task_id: "t-1",
    seq: 1,
    event: "output",
    time: "",
    data: { stream: "stdout", text: "x", command: 0 },
  } as TaskEvent;
  at(0, status({ status: "pending", attempt: 0 }));
  at(1, status({ status: "running", attempt: 1 }));
  at(3, output);
  at(5, status({ status: "paused", attempt: 1 }));
  at(6, status({ status: "running", attempt: 1 }));
  at(8, status({ status: "pending", attempt: 1, reason: "sandbox_lost" }));
  at(9, status({ status: "running", attempt: 2 }));
  const told = model
    .stretches()
    .map(({ kind, from, to }) => [kind, from / 1_000, to === null ? null : to / 1_000]);
  assert.deepEqual(told, [
    ["queue", 0, 1],
    ["sandbox", 1, 3],
    ["run", 3, 5],
    ["paused", 5, 6],
    ["run", 6, 8],
    ["queue", 8, 9],
    ["sandbox", 9, null],
  ]);
});

test("while it asks, it waits: its work is parted by that, also around a pause", () => {
  const model = new TaskModel();
  const at = (s: number, event: TaskEvent): void => {
    model.push({ ...event, time: new Date(s * 1_000).toISOString() });
  };
  const said = (name: string, data: object): TaskEvent =>
    ({ type: "event", task_id: "t-1", seq: 1, event: name, time: "", data }) as unknown as TaskEvent;
  at(0, status({ status: "running", attempt: 1 }));
  at(1, said("log", { level: "info", message: "x" }));
  at(2, said("input_requested", { key: "k", prompt: "?" }));
  at(4, status({ status: "paused", attempt: 1 }));
  at(5, status({ status: "running", attempt: 1 }));
  at(7, said("input_given", { key: "k" }));
  at(8, said("input_requested", { key: "l", prompt: "?" }));
  const told = model.stretches().map(({ kind, from, to }) => [kind, from / 1_000, to && to / 1_000]);
  assert.deepEqual(told, [
    ["sandbox", 0, 1],
    ["run", 1, 2],
    ["asks", 2, 4],
    ["paused", 4, 5],
    ["asks", 5, 7],
    ["run", 7, 8],
    ["asks", 8, null],
  ]);
});
