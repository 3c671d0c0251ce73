import assert from "node:assert/strict";
import { test } from "node:test";

import { Stage } from "./support.ts";

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

test("pauses grow with each failed try up to the cap, with full jitter", () => {
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
  assert.deepEqual(pauses, [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
});

test("a try that meets no welcome is given up after its deadline", () => {
  const stage = new Stage();
  stage.session.connect();
  stage.clock.turn(10_000);
  assert.ok(stage.socket.isClosed);
  assert.equal(stage.phase, "offline");
});

test("a dead connection is found by a probe each heartbeat", () => {
  const stage = Stage.live();
  stage.clock.turn(25_000);
  stage.socket.says({ type: "result", id: stage.socket.asked("ping").id, result: {} });
  stage.clock.turn(10_000);
  assert.equal(stage.phase, "live");
  stage.clock.turn(15_000 + 10_000);
  assert.ok(stage.sockets[0]?.isClosed);
  assert.equal(stage.phase, "offline");
});

test("connect while waiting for the next try dials at once, and only once", () => {
  const stage = Stage.live();
  stage.socket.drops();
  stage.session.connect();
  stage.session.connect();
  stage.clock.turn(5_000);
  assert.equal(stage.sockets.length, 2);
});
