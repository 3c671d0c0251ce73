import assert from "node:assert/strict";
import { test } from "node:test";

import { matcher } from "../src/tab/collect.ts";
import { MAX_WAITING_BYTES, OutputFlow, type Piece } from "../src/tab/output.ts";
import { Chance } from "./support.ts";

const TEXT = "aé✓𝄞\n".repeat(400);
const BYTES = new TextEncoder().encode(TEXT);
const strict = new TextDecoder("utf-8", { fatal: true });

/** All that waits, each piece taken with a room of its own. */
function drained(flow: OutputFlow, room: () => number): Piece[] {
  const pieces: Piece[] = [];
  while (flow.isWaiting) {
    const piece = flow.take(room());
    if (piece !== null && (piece.kind === "gap" || piece.data.length > 0)) pieces.push(piece);
  }
  return pieces;
}

const textOf = (pieces: Piece[]) =>
  pieces.map((piece) => (piece.kind === "text" ? strict.decode(piece.data) : "")).join("");
const sizeOf = (pieces: Piece[]) =>
  pieces.reduce((sum, piece) => sum + (piece.kind === "text" ? piece.data.length : 0), 0);

test("however output is cut, on its way in and out, each piece is whole characters and nothing is missing", () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const chance = new Chance(seed);
    const flow = new OutputFlow(1 << 20, true);
    const pieces: Piece[] = [];
    for (let at = 0; at < BYTES.length; ) {
      const size = 1 + chance.below(7);
      flow.feed(BYTES.subarray(at, at + size));
      at += size;
      if (chance.below(3) === 0) pieces.push(...drained(flow, () => 4 + chance.below(9)));
    }
    const kept = flow.endCommand();
    pieces.push(...drained(flow, () => 4 + chance.below(9)));
    assert.equal(textOf(pieces), TEXT);
    assert.deepEqual(kept, { text: TEXT, truncated: false });
  }
});

test("past the limit there is one gap, then the count and the last 64 KiB of whole characters", () => {
  const flow = new OutputFlow(1000, true);
  const much = new TextEncoder().encode("✓".repeat(100_000));
  flow.feed(much);
  const before = drained(flow, () => 1 << 20);
  assert.deepEqual(before.at(-1), { kind: "gap", dropped: null, reason: "limit" });
  assert.equal(sizeOf(before), 999);
  const kept = flow.endCommand();
  const [gap, ...tail] = drained(flow, () => 1 << 20);
  assert.equal(sizeOf(tail), 65_535);
  assert.deepEqual(gap, { kind: "gap", dropped: 300_000 - 999 - 65_535, reason: "limit" });
  assert.equal(kept.truncated, true);
  assert.match(kept.text, /^✓+\n\[… \d+ bytes left out …\]\n✓+$/);
});

test("what nobody takes waits up to a bound; what is left out beyond it is counted where it was", () => {
  const flow = new OutputFlow(1 << 30, true);
  for (let n = 0; n < 6; n += 1) flow.feed(new Uint8Array(1 << 20).fill(97));
  assert.equal(flow.waitingBytes, MAX_WAITING_BYTES);
  assert.equal(sizeOf([flow.take(1 << 20)].filter((piece) => piece !== null)), 64 << 10);
  flow.feed(Uint8Array.of(98));
  const pieces = drained(flow, () => 1 << 20);
  const gaps = pieces.filter((piece) => piece.kind === "gap");
  assert.deepEqual(gaps, [{ kind: "gap", dropped: 2 << 20, reason: "overflow" }]);
  assert.equal(textOf(pieces).at(-1), "b");
});

test("without a stream nothing waits, and head and tail are kept all the same", () => {
  const flow = new OutputFlow(1 << 20, false);
  flow.feed(BYTES);
  assert.equal(flow.isWaiting, false);
  assert.equal(flow.endCommand().text, TEXT);
});

test("a glob means what it means in a jail", () => {
  const matches = (glob: string, path: string) => matcher([glob]).test(path);
  assert.ok(matches("*.txt", "a.txt") && !matches("*.txt", "b/a.txt"));
  assert.ok(matches("**/*.txt", "a.txt") && matches("**/*.txt", "b/c/a.txt"));
  assert.ok(matches("b/**", "b/c/a.txt") && !matches("b/**", "b"));
  assert.ok(matches("a[!b-d].?", "ae.x") && !matches("a[!b-d].?", "ac.x") && !matches("a[!b]c", "a/c"));
  assert.ok(matches("(a+b).$^", "(a+b).$^") && !matches("a.b", "axb") && matches("[", "["));
  assert.throws(() => matcher(["[z-a]"]));
});
