import assert from "node:assert/strict";
import { test } from "node:test";

import { Channel, type Line } from "../src/tab/channel.ts";
import { WINDOW_BYTES } from "../src/tab/frames.ts";
import { Chance } from "./support.ts";

interface Frame {
  seq: number;
  n: number;
  cost: number;
}

/** A bridge that stores what it hears, in order, and grants for it, some time later. */
class Bridge implements Line {
  heard: Frame[] = [];
  stored = 0;
  /** Of what was stored, what it has granted. */
  granted = 0;

  send(text: string): void {
    const frame = JSON.parse(text) as Frame;
    assert.equal(frame.seq, (this.heard.at(-1)?.seq ?? 0) + 1);
    this.heard.push(frame);
  }

  /** Stores up to so many more frames; the credit for them. */
  store(most: number): number {
    const fresh = this.heard.slice(this.stored, this.stored + most);
    this.stored += fresh.length;
    return fresh.reduce((sum, { cost }) => sum + cost, 0);
  }

  /** What is on its way is lost: it has what it has stored. */
  forget(): void {
    this.heard.length = this.stored;
  }
}

test("over any number of sockets each frame comes once, in order, and what is kept is bounded", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const chance = new Chance(seed);
    const bridge = new Bridge();
    const channel = new Channel("s", bridge);
    let made = 0;
    for (let step = 0; step < 300; step += 1) {
      const dice = chance.below(10);
      const cost = Math.min(channel.room, chance.below(3) === 0 ? 0 : 1 + chance.below(64 << 10));
      if (dice < 6 && (cost > 0 || chance.below(2) === 0)) {
        made += 1;
        channel.send({ type: "task_progress", n: made, cost }, cost);
      } else if (dice < 9 && channel.line !== null) {
        const credit = bridge.store(chance.below(5));
        if (credit > 0) channel.grant(credit);
      } else if (channel.line !== null) channel.detach();
      if (channel.line === null && chance.below(3) === 0) {
        bridge.forget();
        assert.ok(channel.attach(bridge, bridge.stored));
        channel.flush();
      }
    }
    if (channel.line === null) {
      bridge.forget();
      assert.ok(channel.attach(bridge, bridge.stored));
      channel.flush();
    }
    assert.deepEqual(
      bridge.heard.map(({ n }) => n),
      Array.from({ length: made }, (_, index) => index + 1),
    );
  }
});

test("a frame that is stored long ago can't be asked for, nor one that was never made", () => {
  const bridge = new Bridge();
  const channel = new Channel("s", bridge);
  for (let n = 1; n <= 20; n += 1) {
    channel.send({ type: "task_progress", n, cost: 64 << 10 }, 64 << 10);
    channel.grant(bridge.store(1));
  }
  channel.detach();
  assert.equal(channel.attach(bridge, 1), false);
  assert.equal(channel.attach(bridge, 21), false);
  assert.equal(channel.attach(bridge, 16), true);
  assert.equal(channel.room, WINDOW_BYTES - 4 * (64 << 10));
});
