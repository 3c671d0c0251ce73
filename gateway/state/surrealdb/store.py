"""State in SurrealDB: one write after another, those of owners gathered.

"Durable" here means that the engine has synced its log before a commit returns (`SURREAL_SYNC_DATA`). What a server
means by it is the server's to say.
"""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from gateway.clock import Clock
from gateway.state.append_batch import AppendBatch, Asked, told
from gateway.state.group_commit import Batch, GroupCommit, in_task, tell
from gateway.state.shielded import Shielded
from gateway.state.surrealdb.appends import rounds, write
from gateway.state.surrealdb.database import Database, Statements
from gateway.state.surrealdb.tables import SurrealTables
from gateway.state.table_store import Read, TableStore, Write
from gateway.state.transaction import Appended, Transaction
from gateway.state.values import Appender
from gateway.tasks import Commit

Value = TypeVar("Value")


class SurrealStore(TableStore):
    """The `StateStore` at `url`: `surrealkv://` and a folder, or a server's `ws://user:password@host/namespace/name`."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        super().__init__(clock)
        self._database = Database(url)
        self._settled = Shielded()
        # The engine may say of two transactions that write one row at once that both are done, and keep one of them.
        # It also publishes in the order of the commits.
        self._turn = asyncio.Lock()
        self._group: GroupCommit[Asked] = GroupCommit(in_task(self._append_all), lambda _commit: None)

    async def open(self) -> None:
        """Connect, create or migrate the schema. Raises `StoreUnavailableError`, also for a newer schema than ours."""
        await self._database.open()

    async def aclose(self) -> None:
        """Settle what was asked, then close the database."""
        await self._settled.settle()
        await self._group.drain()
        await self._database.aclose()

    def append_soon(self, appender: Appender) -> None:
        """See `StateStore.append_soon`."""
        self._group.put(appender)

    def hurry(self) -> None:
        """See `StateStore.hurry`."""
        self._group.hurry()

    async def _append_all(self, asked: Sequence[Asked]) -> Batch:
        gathered = AppendBatch(asked, self._clock.now_ms())
        done = list[Appended]()
        async with self._turn:
            for some in rounds(gathered.good):
                written = await self._timed(write(self._database, some))
                tell(self._committed, told(written))
                done += written
        return Batch(gathered.answers(done), Commit((), ()))

    async def _write(self, write: Write[Value], *, task_id: str | None = None) -> Value:
        del task_id  # all are written one after another
        return await self._settled.run(self._transacted(write))

    async def _transacted(self, write: Write[Value]) -> Value:
        async def asked(statements: Statements) -> tuple[Value, Commit]:
            tx = Transaction(SurrealTables(self._database, statements), self._clock.now_ms())
            return await write(tx), tx.commit()

        async with self._turn:
            value, commit = await self._timed(self._database.transact(asked))
            tell(self._committed, commit)
        return value

    async def _read(self, read: Read[Value]) -> Value:
        return await read(SurrealTables(self._database, Statements()))
