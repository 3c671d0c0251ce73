"""State in one SQLite file: WAL, synchronous=FULL, one writer with group commit, readers of their own.

"Durable" here means that SQLite has synced the write-ahead log before a commit returns
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import asyncio
import math
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Final, TypeVar

from gateway.clock import Clock
from gateway.run_now import run_now
from gateway.state.group_commit import Batch, GroupCommit, Told
from gateway.state.sqlite.connection import connect, errors_translated
from gateway.state.sqlite.group_read import GroupRead
from gateway.state.sqlite.rows import add_functions
from gateway.state.sqlite.tables import SqliteTables
from gateway.state.sqlite.threads import Threads
from gateway.state.sqlite.writer import Synchronous, Write, Writer
from gateway.state.table_store import Read, TableStore
from gateway.state.table_store import Write as WriteOf
from gateway.state.values import Appender, Retained, Retention

PROBE_BYTES: Final = 512 << 10
"""What has to find room before the store is believed to take writes again: as much as the largest one writes."""
SPARE_BYTES: Final = 16 << 20
"""Of free pages that the file keeps: what is written next takes them."""
STEP_PAGES: Final = 128
"""Pages that are given back in one go: others wait for them no longer than for a batch of events."""

Value = TypeVar("Value")


class SqliteStore(TableStore):
    """The `StateStore` in a file; `writer` must have one worker, `readers` any number."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        writer: Executor,
        readers: Executor,
        synchronous: Synchronous = "FULL",
    ) -> None:
        super().__init__(clock)
        self._path = path
        self._writer = writer
        self._reads = GroupRead(readers)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writing = Writer(path, clock, synchronous)
        self._threads = Threads()
        self._group: GroupCommit[Write] = GroupCommit(self._run_batch, self._committed)

    async def open(self) -> None:
        """Create or migrate the file. Raises `StoreUnavailableError`, also for a newer schema than ours."""
        await self._in(self._writer, self._writing.open)

    async def aclose(self) -> None:
        """Settle what was asked, then close every connection."""
        await self._group.drain()
        await self._reads.drain()
        await self._threads.settle()
        await self._in(self._writer, self._close_all)

    async def check(self) -> None:
        """See `StateStore.check`."""
        await self._write(lambda tx: tx.probe(PROBE_BYTES if self._writing.has_failed else 0))
        self._writing.has_failed = False

    async def retain(self, rule: Retention) -> Retained:
        """See `StateStore.retain`."""
        retained = await super().retain(rule)
        await self._give_back()
        return retained

    async def _give_back(self) -> None:
        free, before = (await self.size()).free, math.inf
        while SPARE_BYTES < free < before:
            await self._in(self._writer, lambda: self._writing.give_back(STEP_PAGES))
            free, before = (await self.size()).free, free

    async def _write(self, write: WriteOf[Value], *, task_id: str | None = None) -> Value:
        del task_id  # all are written one after another
        value: Value = await self._group.write(write)
        return value

    def _run_batch(self, writes: Sequence[Write], told: Told) -> None:
        def back(work: Future[Batch]) -> None:
            done = work.exception() or work.result()
            self._took(now() - began, done)
            told(done)

        now = asyncio.get_running_loop().time
        began = now()
        self._threads.start(self._writer, lambda: self._writing.run(writes), back)

    def append_soon(self, appender: Appender) -> None:
        """See `StateStore.append_soon`."""
        self._group.put(appender)

    def hurry(self) -> None:
        """See `StateStore.hurry`."""
        self._group.hurry()

    async def _read(self, read: Read[Value]) -> Value:
        def query() -> Value:
            with errors_translated():
                return run_now(read(SqliteTables(self._reader())))

        return await self._reads.read(query)

    # --- on the executors' threads --------------------------------------------------------------------

    async def _in(self, executor: Executor, call: Callable[[], Value]) -> Value:
        return await self._threads.run(executor, errors_translated()(call))

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "reader", None)
        if connection is None:
            connection = self._local.reader = connect(self._path)
            self._connections.append(connection)
            connection.execute("PRAGMA query_only = ON")
            add_functions(connection)
        return connection

    def _close_all(self) -> None:
        while self._connections:
            self._connections.pop().close()
        self._writing.close()
