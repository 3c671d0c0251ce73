"""State stores to test with, each on data of its own that can be opened again."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from gateway.errors import GatewayError
from gateway.state.base import StateStore
from gateway.state.postgresql.store import PostgresqlStore
from gateway.state.sqlite.store import SqliteStore
from gateway.state.surrealdb.store import SurrealStore
from gateway.task_changes import claimed
from gateway.tasks import Commit, TaskRecord
from tests.support.inline import InlineExecutor
from tests.support.records import NOW_MS, FakeTime, new_task, record

AMPLE = 1 << 30
"""More bytes than any log here has."""


def threads() -> tuple[Executor, Executor]:
    """Executors as a real process has them: one writer, some readers."""
    return ThreadPoolExecutor(1), ThreadPoolExecutor(2)


def inline() -> tuple[Executor, Executor]:
    """Executors that take no time, for tests on virtual time."""
    return InlineExecutor(), InlineExecutor()


class Backend(Protocol):
    """Data that a store can be opened over, again and again; `time` is its stores' clock."""

    time: FakeTime

    def opened(self) -> AbstractAsyncContextManager[StateStore]:
        """A store over the data, open inside the block."""


@dataclass
class PostgresqlBackend:
    """A database; `time` is its stores' clock."""

    dsn: str
    time: FakeTime = field(default_factory=FakeTime)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[StateStore]:
        """A store over the data, open inside the block."""
        store = PostgresqlStore(self.dsn, clock=self.time.clock, connections=5)
        try:
            await store.open()
            yield store
        finally:
            await store.aclose()


@dataclass
class SurrealBackend:
    """A folder of SurrealDB's engine; `time` is its stores' clock."""

    folder: Path
    time: FakeTime = field(default_factory=FakeTime)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[StateStore]:
        """A store over the data, open inside the block."""
        store = SurrealStore(f"surrealkv://{self.folder / 'surrealdb'}", clock=self.time.clock)
        try:
            await store.open()
            yield store
        finally:
            await store.aclose()


@dataclass
class SqliteBackend:
    """A SQLite file; `time` is its stores' clock."""

    folder: Path
    executors: Callable[[], tuple[Executor, Executor]] = threads
    time: FakeTime = field(default_factory=FakeTime)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[StateStore]:
        """A store over the data, open inside the block."""
        writer, readers = self.executors()
        store = SqliteStore(self.path, clock=self.time.clock, writer=writer, readers=readers)
        try:
            await store.open()
            yield store
        finally:
            await store.aclose()
            writer.shutdown()
            readers.shutdown()

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / "gateway.db"


class Published:
    """What a store has published, in order."""

    def __init__(self, store: StateStore) -> None:
        self.commits: list[Commit] = []
        store.on_commit = self.commits.append

    @property
    def seqs(self) -> list[tuple[str, int]]:
        """Task and seq of every event published."""
        return [
            (batch.task_id, event.seq)
            for commit in self.commits
            for batch in commit.events
            for event in batch.events
        ]


async def claim(store: StateStore, task_id: str, *, owner: str = "instance-1") -> TaskRecord:
    """The task, run by `owner` from now on."""
    return await store.change_task(
        task_id, lambda task: claimed(task, owner=owner, sandbox_id="sandbox-1", now_ms=NOW_MS)
    )


async def run(store: StateStore, **fields: Any) -> TaskRecord:
    """A new task that instance-1 runs."""
    created = await store.create_task(new_task(record(**fields)))
    return await claim(store, created.task.task_id)


async def seqs(store: StateStore, task_id: str, after_seq: int = 0) -> list[int]:
    """The numbers of a log."""
    page = await store.read_events(task_id, after_seq, max_events=10_000, max_bytes=AMPLE)
    return [event.seq for event in page.events]


async def code_of(asked: Any) -> str:
    """The code of the refusal of what was asked."""
    with pytest.raises(GatewayError) as caught:
        await asked
    return caught.value.code
