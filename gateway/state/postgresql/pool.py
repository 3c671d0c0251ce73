"""Connections to PostgreSQL: made, kept, their errors translated; transactions whose end is known.

A connection that breaks while it commits leaves open whether it did. The server knows: each transaction has a
number, by which it is asked for afterwards (`pg_xact_status`,
https://www.postgresql.org/docs/current/functions-info.html).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from gateway.errors import StoreUnavailableError
from gateway.state.schema import escape, migrations, unescape

Connection = PoolConnectionProxy  # what a pool hands out
Value = TypeVar("Value")

CONNECT_S: Final = 5.0
"""How long a connection may take to be made, or to become free."""
COMMAND_S: Final = 30.0
"""How long one statement may take."""
SETTLE_S: Final = 30.0
"""How long a server is asked what came of a commit whose answer was lost."""
TRIES: Final = 5
"""Of a transaction that others stand in the way of."""
_MIGRATION_LOCK: Final = 0x67617465776179
"""The advisory lock of whoever migrates: "gateway"."""


class OverConnection:
    """A part of the tables, over one connection."""

    def __init__(self, db: Connection) -> None:
        self._db = db


class CommitUnknownError(Exception):
    """The connection broke while transaction `xid` was committed."""

    def __init__(self, xid: str) -> None:
        self.xid = xid
        super().__init__(f"what came of transaction {xid} is not known")


class Database:
    """A pool of connections to one database; every method raises `StoreUnavailableError` where it can't be reached."""

    def __init__(self, dsn: str, *, connections: int) -> None:
        self._dsn = dsn
        self._connections = connections
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Connect and bring the schema up to date; a newer schema than ours is refused."""
        with translated():
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._connections,
                timeout=CONNECT_S,
                command_timeout=COMMAND_S,
                init=_prepare,
                reset=_as_it_is,
                # An answer means "on disk", whatever the server's own default is.
                server_settings={
                    "application_name": "gateway",
                    "synchronous_commit": "on",
                    "default_transaction_isolation": "read committed",
                    "idle_in_transaction_session_timeout": f"{round(COMMAND_S * 1000)}ms",
                },
            )
        await self.transact(_migrate)

    async def aclose(self) -> None:
        """Close every connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of one's own, inside the block."""
        with translated():
            if self._pool is None:
                raise StoreUnavailableError("the store is not open")
            async with self._pool.acquire(timeout=CONNECT_S) as connection, _dropped_when_broken(connection):
                yield connection

    async def transact(self, work: Callable[[Connection], Awaitable[Value]]) -> Value:
        """What `work` gives, once its transaction is on disk; it is called again where others stood in its way.

        Raises what `work` raises, and then nothing is written.
        """
        for tries_left in range(TRIES - 1, -1, -1):
            try:
                return await self._try(work)
            except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
                if not tries_left:
                    raise StoreUnavailableError(f"PostgreSQL: {error}") from error
        raise AssertionError("unreachable")

    async def _try(self, work: Callable[[Connection], Awaitable[Value]]) -> Value:
        try:
            async with self.connection() as connection:
                value, xid = await _run(connection, work)
                await _commit(connection, xid)
        except CommitUnknownError as error:
            if not await self._committed(error.xid):
                raise StoreUnavailableError(
                    "PostgreSQL: the connection broke, nothing was written"
                ) from error
        return value

    async def _committed(self, xid: str) -> bool:
        """Whether a transaction has been committed; raises where the server can't be asked for too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SETTLE_S
        while True:
            try:
                async with self.connection() as connection:
                    status = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", xid)
            except StoreUnavailableError:
                if loop.time() > deadline:
                    raise
            else:
                if status != "in progress":
                    return bool(status == "committed")
            await asyncio.sleep(0.05)


async def _run(
    connection: Connection, work: Callable[[Connection], Awaitable[Value]]
) -> tuple[Value, str | None]:
    """What `work` gives in a transaction that is left open, and the transaction's number, if it wrote anything."""
    await connection.execute("BEGIN")
    try:
        value = await work(connection)
        xid = await connection.fetchval("SELECT pg_current_xact_id_if_assigned()::text")
    except _BROKEN:
        raise
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    return value, xid


@asynccontextmanager
async def _dropped_when_broken(connection: Connection) -> AsyncIterator[None]:
    """What is of no more use is not given back to the pool, also where it has not noticed yet that it is closed."""
    try:
        yield
    except _BROKEN:
        # The pool may have taken it back already, where it was noticed to be closed.
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
        raise


async def _commit(connection: Connection, xid: str | None) -> None:
    try:
        await connection.execute("COMMIT")
    except _BROKEN as error:
        if xid is None:
            raise
        raise CommitUnknownError(xid) from error


_BROKEN: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # Between the server's last word and the end of the connection asyncpg takes no statement any more.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
"""What a connection raises that is of no more use."""


@contextmanager
def translated() -> Iterator[None]:
    """PostgreSQL's errors as ours, but those for which a transaction is simply tried again."""
    try:
        yield
    except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
        raise
    except (*_BROKEN, asyncpg.PostgresError) as error:
        raise StoreUnavailableError(f"PostgreSQL: {type(error).__name__}: {error}") from error


def rows_written(status: str) -> int:
    """How many rows a statement wrote, by PostgreSQL's answer to it."""
    return int(status.rpartition(" ")[2])


# --- texts --------------------------------------------------------------------------------------------


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec(
        "text", schema="pg_catalog", encoder=escape, decoder=unescape, format="text"
    )


async def _as_it_is(_connection: Any) -> None:
    """No session is ever left changed, so there is nothing to be reset: that would be one more round trip each."""


# --- the schema ---------------------------------------------------------------------------------------


async def _migrate(connection: Connection) -> None:
    """Bring the schema up to date; several instances may start at once."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
    await connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version bigint NOT NULL)")
    version = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_version")
    for number, script in migrations("postgresql", version):
        await connection.execute(script)
        await connection.execute("INSERT INTO schema_version VALUES ($1)", number)
