import assert from "node:assert/strict";
import { test } from "node:test";

import { Stage, settled } from "./support.ts";

test("the token goes as a second subprotocol, the session id as the query", () => {
  const stage = new Stage();
  stage.token = "aaa.bbb.c-_c";
  stage.session.connect();
  assert.deepEqual(stage.socket.protocols, ["gateway.v1", "bearer.aaa.bbb.c-_c"]);
  assert.equal(stage.socket.url, "ws://gateway/ws");
  stage.socket.welcomes("s 1");
  stage.socket.drops();
  assert.equal(stage.redials().url, "ws://gateway/ws?session_id=s%201");
});

test("a token that can't be one stops before anything is dialled", () => {
  const stage = new Stage();
  stage.token = "not a token";
  stage.session.connect();
  assert.equal(stage.sockets.length, 0);
  assert.equal(stage.phase, "stopped");
});

for (const code of [1003, 1007, 1009, 4400, 4403]) {
  test(`close code ${code} stops for good`, () => {
    const stage = Stage.live();
    stage.socket.drops(code, "no");
    stage.clock.turn(3_600_000);
    assert.equal(stage.sockets.length, 1);
    assert.deepEqual(stage.session.state, {
      phase: "stopped",
      code,
      reason: "no",
      needsToken: false,
      recovery: { resumed: 0, lost: 0 },
    });
  });
}

test("close code 4401 waits for a new token, and connects with it", () => {
  const stage = Stage.live();
  stage.socket.drops(4401, "expired");
  stage.clock.turn(3_600_000);
  assert.equal(stage.sockets.length, 1);
  const state = stage.session.state;
  assert.ok(state.phase === "stopped" && state.needsToken);
  stage.token = "a.b.c";
  stage.session.connect();
  assert.deepEqual(stage.socket.protocols, ["gateway.v1", "bearer.a.b.c"]);
});

for (const code of [1001, 1006, 1012, 1013, 4408]) {
  test(`close code ${code} is followed by another try`, () => {
    const stage = Stage.live();
    stage.socket.drops(code);
    stage.redials();
    assert.equal(stage.sockets.length, 2);
    assert.equal(stage.phase, "resuming");
  });
}

test("a goodbye's reconnect_in_ms is waited for, to the millisecond", () => {
  const stage = Stage.live();
  const goodbye = { type: "goodbye", code: 1012, reason: "restart", reconnect: true, reconnect_in_ms: 3_210 };
  stage.socket.says(goodbye);
  stage.socket.drops(1012);
  stage.clock.turn(3_209);
  assert.equal(stage.sockets.length, 1);
  stage.clock.turn(1);
  assert.equal(stage.sockets.length, 2);
});

test("a goodbye that says not to come back is obeyed, whatever the code", () => {
  const stage = Stage.live();
  stage.socket.says({ type: "goodbye", code: 1001, reason: "gone", reconnect: false, reconnect_in_ms: null });
  stage.socket.drops(1001);
  stage.clock.turn(3_600_000);
  assert.equal(stage.sockets.length, 1);
});

test("the first try is at once, then pauses grow up to the cap, with full jitter", () => {
  const stage = new Stage();
  stage.session.connect();
  const pauses = Array.from({ length: 8 }, () => {
    stage.socket.drops();
    const state = stage.session.state;
    assert.ok(state.phase === "offline");
    const pause = state.retryAt - stage.clock.now();
    stage.clock.turn(pause);
    return pause;
  });
  assert.deepEqual(pauses, [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 10_000]);
});

test("a try that meets no welcome is given up after its deadline", () => {
  const stage = new Stage();
  stage.session.connect();
  stage.clock.turn(10_000);
  assert.ok(stage.sockets[0]?.isClosed);
  assert.equal(stage.sockets.length, 2);
});

test("a dead connection is found by a probe each heartbeat", () => {
  const stage = Stage.live();
  stage.clock.turn(25_000);
  stage.socket.says({ type: "result", id: stage.socket.asked("ping").id, result: {} });
  stage.clock.turn(10_000);
  assert.equal(stage.phase, "live");
  stage.clock.turn(15_000 + 10_000);
  assert.ok(stage.sockets[0]?.isClosed);
  assert.equal(stage.phase, "resuming");
});

test("connect while waiting for the next try dials at once, and only once", () => {
  const stage = Stage.live();
  stage.socket.drops();
  stage.session.connect();
  stage.session.connect();
  stage.clock.turn(5_000);
  assert.equal(stage.sockets.length, 2);
});

test("only a connection that held begins the pauses anew", () => {
  const stage = Stage.live();
  stage.clock.turn(20_000);
  stage.socket.drops();
  stage.redials().welcomes();
  stage.socket.drops();
  const state = stage.session.state;
  assert.ok(state.phase === "offline");
  assert.equal(state.retryAt - stage.clock.now(), 250);
});

test("a token that comes later is waited for, and one that can't be had is asked for again", async () => {
  const stage = new Stage();
  stage.token = Promise.reject(new Error("no network"));
  stage.session.connect();
  await settled();
  assert.equal(stage.sockets.length, 0);
  stage.token = Promise.resolve("a.b.c");
  stage.clock.turn(0);
  stage.session.connect();
  await settled();
  assert.deepEqual(stage.socket.protocols, ["gateway.v1", "bearer.a.b.c"]);
  assert.equal(stage.sockets.length, 1);
});

test("a new token is presented before the old one expires, and the same one is not presented again", async () => {
  const stage = new Stage();
  stage.token = "old";
  stage.session.connect();
  stage.socket.welcomes("s-1", { time: at(0), expires_at: at(20) });
  stage.token = "new";
  stage.clock.turn(9_999);
  assert.throws(() => stage.socket.asked("authenticate"));
  stage.clock.turn(1);
  await settled();
  assert.equal(stage.socket.asked("authenticate").token, "new");
  stage.socket.answers("authenticate", { subject: "alice", expires_at: at(20) });
  await settled();
  const sent = stage.socket.sent.length;
  stage.clock.turn(20_000);
  assert.deepEqual(
    stage.socket.sent.slice(sent).filter((frame) => frame.type === "authenticate"),
    [],
  );
});

function at(s: number): string {
  return new Date(s * 1_000).toISOString();
}
