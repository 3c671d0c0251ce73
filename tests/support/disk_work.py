"""A process that writes a store, with faults in between, says what was acknowledged, and ends like a crash.

`python -m tests.support.disk_work DATABASE FAULT STEP...`; a step is `fail=…` (see `faulty_disk.c`), `heal` or
`task=ID,EVENTS,SIZE`. Each line of output is a task and how many events of it are durable.
"""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.state.sqlite.store import SqliteStore
from gateway.state.values import Append
from tests.support.records import fence_of, new_task, output, record
from tests.support.stores import claim


async def work(database: Path, fault: Path, steps: list[str]) -> None:
    """Do the steps, and return in the middle of things."""
    writer, readers = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    store = SqliteStore(database, clock=Clock(), writer=writer, readers=readers)
    await store.open()
    for step in steps:
        kind, _, what = step.partition("=")
        if kind == "task":
            await _one_task(store, *what.split(","))
        else:
            _set_fault(fault, what)


def _set_fault(fault: Path, what: str) -> None:
    fault.write_text(what)


async def _one_task(store: SqliteStore, task_id: str, events: str, size: str) -> None:
    try:
        await store.create_task(new_task(record(task_id=task_id, workflow_id=task_id)))
        _say(task_id, 1)
        fence = fence_of(await claim(store, task_id))
        _say(task_id, 2)
        for _ in range(int(events)):
            fence = await store.append(fence, Append([output("x" * int(size))]))
            _say(task_id, fence.last_seq)
    except StoreUnavailableError as error:
        sys.stderr.write(f"{error}\n")


def _say(task_id: str, last_seq: int) -> None:
    sys.stdout.write(f"{task_id} {last_seq}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
    os._exit(0)
