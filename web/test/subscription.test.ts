import assert from "node:assert/strict";
import { test } from "node:test";

import type { Subscription, TaskEvent } from "../src/client/index.ts";
import { Stage } from "./support.ts";

/** Reads to the end, into a list that the test can look at meanwhile. */
function follow(events: Subscription): { seqs: number[]; ended: Promise<void> } {
  const seqs: number[] = [];
  const read = async () => {
    for await (const event of events as AsyncIterable<TaskEvent>) seqs.push(event.seq);
  };
  return { seqs, ended: read() };
}

test("a task's events are iterated to its terminal status", async () => {
  const { session, socket } = Stage.live();
  const { seqs, ended } = follow(session.task("t-1")[Symbol.asyncIterator]());
  assert.equal(socket.asked("subscribe").after_seq, 0);
  socket.answersSubscribe(2);
  socket.sendsOutput(1, 2);
  socket.sendsEnd(3);
  await ended;
  assert.deepEqual(seqs, [1, 2, 3]);
});

test("after a drop the stream goes on after the last seq, with no gap and no repeat", async () => {
  const stage = Stage.live();
  const { seqs, ended } = follow(stage.session.events("t-1"));
  stage.socket.answersSubscribe(2);
  stage.socket.sendsOutput(1, 2);
  stage.socket.drops();
  stage.redials().welcomes();
  assert.equal(stage.socket.asked("subscribe").after_seq, 2);
  assert.equal(stage.phase, "resuming");
  stage.socket.answersSubscribe(5);
  assert.equal(stage.phase, "live");
  stage.socket.sendsOutput(2, 3, 4, 5);
  stage.socket.sendsEnd(6);
  await ended;
  assert.deepEqual(seqs, [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(stage.session.state.recovery, { resumed: 3, lost: 0 });
});

test("what a trimmed log no longer has is counted as lost", async () => {
  const stage = Stage.live();
  const { seqs, ended } = follow(stage.session.events("t-1"));
  stage.socket.answersSubscribe(1);
  stage.socket.sendsOutput(1);
  stage.socket.drops();
  stage.redials().welcomes();
  stage.socket.answersSubscribe(9, 8);
  stage.socket.sendsOutput(8, 9);
  stage.socket.sendsEnd(10);
  await ended;
  assert.deepEqual(seqs, [1, 8, 9, 10]);
  assert.deepEqual(stage.session.state.recovery, { resumed: 2, lost: 6 });
});

test("a seq that jumps is answered by asking for what is missing", async () => {
  const { session, socket } = Stage.live();
  const { seqs, ended } = follow(session.events("t-1"));
  socket.answersSubscribe(1);
  socket.sendsOutput(1, 3, 4);
  assert.equal(socket.asked("subscribe").after_seq, 1);
  socket.answersSubscribe(4);
  socket.sendsOutput(2, 3, 4);
  socket.sendsEnd(5);
  await ended;
  assert.deepEqual(seqs, [1, 2, 3, 4, 5]);
});

test("a task that had ended before ends the stream without an event", async () => {
  const { session, socket } = Stage.live();
  const { seqs, ended } = follow(session.events("t-1", 7));
  const task = { task_id: "t-1", status: "failed", last_seq: 7 };
  socket.answers("subscribe", { task, recovered: true, first_seq: 8 });
  await ended;
  assert.deepEqual(seqs, []);
});

test("a refusal that may be retried is, one that may not ends the stream with its error", async () => {
  const { session, socket, clock } = Stage.live();
  const { ended } = follow(session.events("t-1"));
  socket.refuses("subscribe", "unavailable", true);
  clock.turn(1_000);
  assert.equal(socket.sent.length, 2);
  socket.refuses("subscribe", "task_not_found");
  await assert.rejects(ended, { code: "task_not_found" });
});

test("leaving the loop early unsubscribes, and the task can be followed again", async () => {
  const { session, socket } = Stage.live();
  const reading = (async () => {
    for await (const _ of session.task("t-1")) break;
  })();
  socket.answersSubscribe(1);
  socket.sendsOutput(1);
  await reading;
  assert.equal(socket.asked("unsubscribe").task_id, "t-1");
  session.events("t-1");
});

test("a reader that falls behind keeps a bounded queue and is fed anew from its place", async () => {
  const { session, socket } = Stage.live();
  const events = session.events("t-1");
  const first = events.next();
  socket.answersSubscribe(0);
  const seqs = Array.from({ length: 12_000 }, (_, index) => index + 1);
  socket.sendsOutput(...seqs);
  assert.equal(socket.asked("unsubscribe").task_id, "t-1");
  assert.equal(events.lastSeq, 10_001);
  await first;
  for (let taken = 0; taken < 10_000; taken += 1) await events.next();
  assert.equal(socket.asked("subscribe").after_seq, 10_001);
  socket.answersSubscribe(12_000);
  socket.sendsOutput(...seqs.slice(10_001));
  assert.equal((await events.next()).value?.seq, 10_002);
  assert.equal(session.state.recovery, null);
});

test("what follows the answer to a streaming submit at once is there for whoever iterates later", async () => {
  const { session, socket } = Stage.live();
  const submitted = session.submit({ input: { commands: ["true"] } });
  socket.answers("submit_task", { task: { task_id: "t-1" }, replayed: false });
  socket.sendsOutput(1, 2);
  const task = await submitted;
  socket.sendsEnd(3);
  const seqs: number[] = [];
  for await (const event of task) seqs.push(event.seq);
  assert.deepEqual(seqs, [1, 2, 3]);
  assert.throws(() => socket.asked("subscribe"));
});

test("two readers of one task each have every event once, wherever they began", async () => {
  const { session, socket } = Stage.live();
  const first = follow(session.events("t-1"));
  socket.answersSubscribe(4);
  socket.sendsOutput(1, 2);
  const second = follow(session.events("t-1", 3));
  assert.equal(socket.asked("subscribe").after_seq, 2);
  socket.answersSubscribe(4);
  socket.sendsOutput(3, 4);
  socket.sendsEnd(5);
  await Promise.all([first.ended, second.ended]);
  assert.deepEqual(first.seqs, [1, 2, 3, 4, 5]);
  assert.deepEqual(second.seqs, [4, 5]);
});

test("a reader that leaves does not end the events of another", async () => {
  const { session, socket } = Stage.live();
  const stays = follow(session.events("t-1"));
  socket.answersSubscribe(1);
  const leaves = session.events("t-1");
  const taken = leaves.next();
  socket.answersSubscribe(1);
  socket.sendsOutput(1);
  await taken;
  await leaves.return();
  assert.throws(() => socket.asked("unsubscribe"));
  socket.sendsEnd(2);
  await stays.ended;
  assert.deepEqual(stays.seqs, [1, 2]);
});
