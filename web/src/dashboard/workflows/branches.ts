/** A workflow's checkpoints as a tree of runs. */

import type { Checkpoint } from "../../client/index.ts";

/** The checkpoints of one run, and the runs that went on from each of them. */
export interface Branch {
  taskId: string;
  /** The checkpoint that it went on from; null for a first run, and for one of another workflow. */
  from: string | null;
  checkpoints: Checkpoint[];
  children: Map<string, Branch[]>;
}

/** The first runs; a recovered one begins with a copy that names its original, and hangs where that stands. */
export function branchesOf(checkpoints: readonly Checkpoint[]): Branch[] {
  const branches = new Map<string, Branch>();
  for (const checkpoint of checkpoints) {
    const taskId = checkpoint.task_id ?? "";
    const restored = checkpoint.metadata.restored_from;
    const branch: Branch = branches.get(taskId) ?? {
      taskId,
      from: null,
      checkpoints: [],
      children: new Map(),
    };
    branches.set(taskId, branch);
    if (typeof restored === "string" && branch.checkpoints.length === 0) branch.from = restored;
    branch.checkpoints.push(checkpoint);
  }
  const homes = new Map(
    [...branches.values()].flatMap((branch) =>
      branch.checkpoints.map((c) => [c.checkpoint_id, branch] as const),
    ),
  );
  return [...branches.values()].filter((branch) => {
    const home = branch.from === null ? undefined : homes.get(branch.from);
    if (home === undefined || branch.from === null || home === branch) return true;
    home.children.set(branch.from, [...(home.children.get(branch.from) ?? []), branch]);
    return false;
  });
}
