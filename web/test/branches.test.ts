import assert from "node:assert/strict";
import { test } from "node:test";

import type { Checkpoint } from "../src/client/index.ts";
import { branchesOf } from "../src/dashboard/workflows/branches.ts";

function checkpoint(checkpoint_id: string, task_id: string, restored_from?: string): Checkpoint {
  const metadata = restored_from === undefined ? {} : { restored_from };
  return { checkpoint_id, task_id, metadata, step_name: checkpoint_id } as unknown as Checkpoint;
}

test("a recovered run hangs at the checkpoint that it went on from", () => {
  const [root, ...others] = branchesOf([
    checkpoint("a", "first"),
    checkpoint("b", "first"),
    checkpoint("a2", "second", "a"),
    checkpoint("c", "second"),
    checkpoint("c2", "third", "c"),
  ]);
  assert.deepEqual(others, []);
  const [second] = root?.children.get("a") ?? [];
  assert.equal(second?.taskId, "second");
  assert.equal(second?.children.get("c")?.[0]?.taskId, "third");
});

test("a fork's first run is a root: what it came from is another workflow's", () => {
  const branches = branchesOf([checkpoint("x", "forked", "elsewhere")]);
  assert.deepEqual(
    branches.map(({ taskId, from }) => [taskId, from]),
    [["forked", "elsewhere"]],
  );
});
