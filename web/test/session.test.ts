import assert from "node:assert/strict";
import { test } from "node:test";

import { GatewayError } from "../src/client/index.ts";
import { Stage } from "./support.ts";

test("answers find their requests by id, in any order", async () => {
  const { session, socket } = Stage.live();
  const first = session.request("get_task", { task_id: "a" });
  const second = session.request("get_task", { task_id: "b" });
  const [a, b] = socket.sent;
  socket.says({ type: "result", id: b?.id, result: { task: "B" } });
  socket.says({ type: "result", id: a?.id, result: { task: "A" } });
  assert.deepEqual(await first, { task: "A" });
  assert.deepEqual(await second, { task: "B" });
});

test("an error answer is thrown with code, message, retryable and details", async () => {
  const { session, socket } = Stage.live();
  const request = session.request("cancel_task", { task_id: "a" });
  const details = { status: "completed" };
  const id = socket.asked("cancel_task").id;
  socket.says({ type: "error", id, code: "invalid_state", message: "ended", retryable: false, details });
  await assert.rejects(request, new GatewayError("invalid_state", "ended", false, details));
});

test("a request that is not answered in time fails, and its late answer is ignored", async () => {
  const { session, socket, clock } = Stage.live();
  const request = session.request("ping", {}, { deadlineMs: 1_000 });
  clock.turn(1_000);
  await assert.rejects(request, { code: "deadline_exceeded", retryable: true });
  socket.answers("ping", {});
});

test("a request made before the welcome is sent after it", async () => {
  const stage = new Stage();
  stage.session.connect();
  const request = stage.session.request("get_task", { task_id: "a" });
  assert.equal(stage.socket.sent.length, 0);
  stage.socket.welcomes();
  stage.socket.answers("get_task", { task: "A" });
  assert.deepEqual(await request, { task: "A" });
});

test("a submit whose answer was lost is asked again with the same key", async () => {
  const stage = Stage.live();
  const submitted = stage.session.submit({ input: { commands: ["true"] } });
  const first = stage.socket.asked("submit_task");
  stage.socket.drops();
  const socket = stage.redials();
  socket.welcomes();
  assert.deepEqual(socket.asked("submit_task"), first);
  assert.ok(first.idempotency_key);
  socket.answers("submit_task", { task: { task_id: "t-1" }, replayed: true });
  assert.equal((await submitted).taskId, "t-1");
});

test("requests beyond the gateway's max_inflight are refused here", async () => {
  const { session } = Stage.live();
  const waiting = Array.from({ length: 64 }, () => session.request("ping", {}));
  for (const request of waiting) request.catch(() => undefined);
  await assert.rejects(session.request("ping", {}), { code: "too_many_requests" });
  session.close();
});

test("a state is told once", async () => {
  const { session, socket, told } = Stage.live();
  const events = session.events("t-1");
  void events.next();
  socket.answersSubscribe(0);
  socket.sendsOutput(1, 2);
  await events.return();
  assert.deepEqual(told, ["connecting", "live"]);
});

test("closing fails what waits and what is followed", async () => {
  const { session } = Stage.live();
  const request = session.request("ping", {});
  const next = session.events("t-1").next();
  session.close();
  await assert.rejects(request, { code: "connection_closed" });
  await assert.rejects(next, { code: "connection_closed" });
  await assert.rejects(session.request("ping", {}), { code: "connection_closed" });
});

test("a watch starts with all items, goes on with single ones, and is asked for anew after a drop", () => {
  const stage = Stage.live();
  const updates: unknown[] = [];
  const unwatch = stage.session.watch("tasks", (update) => updates.push(update));
  stage.socket.answers("watch", { items: [{ task_id: "a" }] });
  stage.socket.says({ type: "update", topic: "tasks", item: { task_id: "b" } });
  stage.socket.drops();
  stage.redials().welcomes();
  stage.socket.answers("watch", { items: [{ task_id: "c" }] });
  const expected = [{ items: [{ task_id: "a" }] }, { item: { task_id: "b" } }, { items: [{ task_id: "c" }] }];
  assert.deepEqual(updates, expected);
  unwatch();
  stage.socket.asked("unwatch");
});
