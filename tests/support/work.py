"""A store on virtual time and a task in it that runs, for tests of the work on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import structlog

from gateway.clock import Clock
from gateway.state.sqlite.store import SqliteStore
from gateway.task_changes import claimed
from gateway.tasks import TaskRecord
from tests.support.inline import GatedExecutor, InlineExecutor
from tests.support.records import NOW_MS, LoopTime, new_task, record

LOG = structlog.get_logger()
OWNER = "instance-1"


class Bench:
    """A SQLite store whose disk is as slow as `disk` is told to be, and its tasks."""

    def __init__(self, folder: Path) -> None:
        self.clock: Clock = LoopTime().clock
        self.disk = GatedExecutor()
        self.store = SqliteStore(
            folder / "gateway.db", clock=self.clock, writer=self.disk, readers=InlineExecutor()
        )

    async def pending(self, given: dict[str, Any] | None = None, **fields: Any) -> TaskRecord:
        """A task that waits to be run."""
        created = await self.store.create_task(
            new_task(record(agent="scripted", **fields), input=orjson.dumps(given or {}))
        )
        return created.task

    async def running(self, given: dict[str, Any] | None = None, **fields: Any) -> TaskRecord:
        """A task that instance-1 runs."""
        return await self.claim((await self.pending(given, **fields)).task_id)

    async def claim(self, task_id: str, owner: str = OWNER) -> TaskRecord:
        """The task, owned by `owner` from now on."""
        return await self.store.change_task(
            task_id, lambda task: claimed(task, owner=owner, sandbox_id=None, now_ms=NOW_MS)
        )

    async def row(self, task_id: str) -> TaskRecord:
        """The task as it is now."""
        row = await self.store.get_task(task_id)
        assert row is not None
        return row

    async def log(self, task_id: str) -> list[dict[str, Any]]:
        """The task's events, whole; their numbers have no gap."""
        page = await self.store.read_events(task_id, 0, max_events=100_000, max_bytes=1 << 30)
        assert [event.seq for event in page.events] == list(range(1, len(page.events) + 1))
        return [orjson.loads(event.frame) for event in page.events]

    async def last(self, task_id: str) -> dict[str, Any]:
        """The `data` of the newest event."""
        data: dict[str, Any] = (await self.log(task_id))[-1]["data"]
        return data


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    """A bench with an empty store, open inside the block."""
    made = Bench(folder)
    await made.store.open()
    try:
        yield made
    finally:
        made.disk.open()
        await made.store.aclose()
