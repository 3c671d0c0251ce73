"""State in PostgreSQL: transactions with `synchronous_commit=on`, one statement for the appends of many tasks.

"Durable" here means that the server has flushed the transaction's write-ahead log before it answers
(https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT).
"""

import asyncio
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from gateway.clock import Clock
from gateway.state.group_commit import tell
from gateway.state.postgresql.appends import Appends
from gateway.state.postgresql.pool import Connection, Database
from gateway.state.postgresql.tables import PostgresqlTables
from gateway.state.shielded import Shielded
from gateway.state.table_store import Read, TableStore, Write
from gateway.state.transaction import Transaction
from gateway.state.values import Appender
from gateway.tasks import Commit

Value = TypeVar("Value")

RENEW_S: Final = 5.0
"""How long one statement for a lease may take: behind a network that is gone, the next one is not to wait for it."""


class PostgresqlStore(TableStore):
    """The `StateStore` in the database that `dsn` names, over at most `connections`, which are two or more.

    One of them renews leases and does nothing else: however slow the others' statements are, the instance lives.
    """

    def __init__(self, dsn: str, *, clock: Clock, connections: int) -> None:
        super().__init__(clock)
        self._database = Database(dsn, connections=connections - 1)
        self._renewing = Database(dsn, connections=1, command_s=RENEW_S)
        self._settled = Shielded()
        self._appends = Appends(self._database, clock, self._committed, timed=self._timed)
        # A task's writes are made one after another, so that its events are published in the order of their numbers.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(self) -> None:
        """Connect, create or migrate the schema. Raises `StoreUnavailableError`, also for a newer schema than ours."""
        await self._database.open()
        await self._renewing.open()

    async def aclose(self) -> None:
        """Settle what was asked, then close every connection."""
        await self._settled.settle()
        await self._renewing.aclose()
        await self._database.aclose()

    def append_soon(self, appender: Appender) -> None:
        """See `StateStore.append_soon`."""

        async def in_turn() -> None:
            async with self._turn(appender.fence.task_id):
                await self._appends.append(appender)

        self._settled.start(in_turn())

    def hurry(self) -> None:
        """See `StateStore.hurry`."""
        self._appends.hurry()

    async def _write(self, write: Write[Value], *, task_id: str | None = None) -> Value:
        async def in_turn(task_id: str) -> Value:
            async with self._turn(task_id):
                return await self._transacted(write, self._database)

        doing = self._transacted(write, self._database) if task_id is None else in_turn(task_id)
        return await self._settled.run(doing)

    async def _renew(self, write: Write[Value]) -> Value:
        return await self._settled.run(self._transacted(write, self._renewing))

    async def _transacted(self, write: Write[Value], database: Database) -> Value:
        async def work(connection: Connection) -> tuple[Value, Commit]:
            tx = Transaction(PostgresqlTables(connection), self._clock.now_ms())
            return await write(tx), tx.commit()

        value, commit = await self._timed(database.transact(work))
        tell(self._committed, commit)
        return value

    def _turn(self, task_id: str) -> asyncio.Lock:
        return self._turns.setdefault(task_id, asyncio.Lock())

    async def _read(self, read: Read[Value]) -> Value:
        async with self._database.connection() as connection:
            return await read(PostgresqlTables(connection))
