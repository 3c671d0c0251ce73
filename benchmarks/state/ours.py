"""`python -m benchmarks.state.ours FOLDER WORKFLOWS STEPS STATE_BYTES`: steps a second, each a durable checkpoint.

Agents as somebody writes them, each in a run over one SQLite store, as a gateway has them: what a step costs is
all of it, the event that tells of the checkpoint included.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import structlog
import uvloop

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.hosted import hosted
from gateway.clock import Clock
from gateway.state.sqlite.store import SqliteStore
from gateway.task_changes import claimed
from gateway.tasks import Task, TaskRecord, TaskStatus
from gateway.work.run import Run
from tests.support.records import new_task, record

LOG = structlog.get_logger()
WARM_STEPS, WARM_BYTES = 60, 100_000
"""What goes before: SQLite's log has its length then, and a sync has no new length of a file to write."""


class Stepper(AsyncBaseAgent):
    """Makes a checkpoint a step, with a state that does not change beside a number that does."""

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """As many as the task says."""
        async with self.execution_context(task):
            words = "x" * task.input["bytes"]
            for number in range(task.input["steps"]):
                if task.input["changing"]:
                    words = str(number) + words
                await self.create_checkpoint({"phase": f"step-{number}", "n": number, "words": words})
            yield {"result": {"steps": task.input["steps"]}}


class Alone(Stepper):
    """Takes no sandbox."""

    def __init__(self) -> None:
        super().__init__("stepper")


async def begun(store: SqliteStore, clock: Clock, number: int, given: dict[str, Any]) -> TaskRecord:
    """A task that this process owns."""
    row = record(
        task_id=clock.new_ordered_id(),
        workflow_id=clock.new_id(),
        agent="stepper",
        labels={"number": str(number)},
        timeout_s=3600,
    )
    created = await store.create_task(new_task(row, input=orjson.dumps({"task": "step", **given})))
    now_ms = clock.now_ms()
    return await store.change_task(
        created.task.task_id, lambda task: claimed(task, owner="bench", sandbox_id=None, now_ms=now_ms)
    )


async def measure(folder: Path, workflows: int, steps: int, state_bytes: int) -> float:
    """Steps a second."""
    clock = Clock()
    writer, readers = ThreadPoolExecutor(1), ThreadPoolExecutor(2)
    store = SqliteStore(folder / "ours.db", clock=clock, writer=writer, readers=readers)
    await store.open()
    await stepped(store, clock, 1, {"steps": WARM_STEPS, "bytes": WARM_BYTES, "changing": True})
    took = await stepped(store, clock, workflows, {"steps": steps, "bytes": state_bytes, "changing": False})
    await store.aclose()
    writer.shutdown()
    readers.shutdown()
    return workflows * steps / took


async def stepped(store: SqliteStore, clock: Clock, workflows: int, given: dict[str, Any]) -> float:
    """How long so many workflows take, in s."""
    steps = given["steps"]
    tasks = [await begun(store, clock, number, given) for number in range(workflows)]
    agent = hosted("stepper", Alone)
    runs = [
        Run(task, agent, bridge=None, store=store, clock=clock, hold_s=900, on_change=lambda: None, log=LOG)
        for task in tasks
    ]
    began = time.perf_counter()
    ends = await asyncio.gather(*(run.execute() for run in runs))
    took = time.perf_counter() - began
    if any(end is not TaskStatus.COMPLETED for end in ends):
        raise RuntimeError(f"not all have completed: {set(ends)}")
    kept = await store.list_checkpoints(tasks[0].workflow_id, limit=steps + 1)
    if len(kept) != steps:
        raise RuntimeError(f"{len(kept)} checkpoints of {steps} are there")
    return took


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    figure = uvloop.run(measure(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
    sys.stdout.write(json.dumps({"steps_s": figure}) + "\n")
