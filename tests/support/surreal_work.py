"""A process that writes a SurrealDB store without end. A line says what was acknowledged: a task and its last event.

`python -m tests.support.surreal_work FOLDER`; it ends with status 1 where a write is refused.
"""

import asyncio
import os
import sys
from pathlib import Path

from gateway.errors import StoreUnavailableError
from gateway.state.base import StateStore
from gateway.state.values import Append
from tests.support.records import fence_of, output
from tests.support.stores import SurrealBackend, run

TASKS = 5


async def work(folder: Path) -> None:
    """Write until a write is refused."""
    async with SurrealBackend(folder).opened() as store, asyncio.TaskGroup() as tasks:
        for _ in range(TASKS):
            tasks.create_task(_one_task(store))


async def _one_task(store: StateStore) -> None:
    fence = fence_of(await run(store))
    while True:
        sys.stdout.write(f"{fence.task_id} {fence.last_seq}\n")
        sys.stdout.flush()
        try:
            fence = await store.append(fence, Append([output("x" * 200)]))
        except StoreUnavailableError:
            os._exit(1)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1])))
