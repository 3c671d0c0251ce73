"""Connections to PostgreSQL: made, kept, their errors translated; transactions whose end is known.

A connection that breaks while it commits leaves open whether it did. So each transaction that writes leaves a mark
in its writer's row, and that row is asked afterwards. The number that the server gives a transaction would not do: a
crash that loses the transaction lets another one have its number, and commit.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

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


MARKS_KEPT: Final = "1 day"
"""Longer than anybody asks what came of a commit."""
_MARK: Final = """
    WITH given AS MATERIALIZED (SELECT pg_current_xact_id_if_assigned() AS xid)
    INSERT INTO commit_mark (writer, mark) SELECT $1, $2 FROM given WHERE xid IS NOT NULL
    ON CONFLICT (writer) DO UPDATE SET mark = excluded.mark, at = now()
    RETURNING mark
"""
"""Leaves a mark where the transaction has written anything."""
_ASK: Final = """
    INSERT INTO commit_mark (writer, mark) VALUES ($1, 0)
    ON CONFLICT (writer) DO UPDATE SET mark = commit_mark.mark
    RETURNING mark
"""
"""The writer's mark; it waits for a transaction that is still about to leave one."""


class CommitUnknownError(Exception):
    """The connection broke while a transaction that had left a mark was committed."""


class Database:
    """A pool of connections to one database; every method raises `StoreUnavailableError` where it can't be reached."""

    def __init__(self, dsn: str, *, connections: int, command_s: float = COMMAND_S) -> None:
        self._dsn = dsn
        self._command_s = command_s
        self._connections = connections
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        # Names that no transaction has now; as many as there were transactions at once.
        self._writers: list[str] = []

    async def open(self) -> None:
        """Connect and bring the schema up to date; a newer schema than ours is refused."""
        with _named(self._dsn), translated():
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._connections,
                timeout=CONNECT_S,
                command_timeout=self._command_s,
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
        await self.transact(_forget_marks)

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
        with self._writer() as writer:
            mark = secrets.randbits(62) + 1
            try:
                async with self.connection() as connection:
                    value, has_written = await _run(connection, work, writer, mark)
                    await _commit(connection, has_written=has_written)
            except CommitUnknownError as error:
                if not await self._committed(writer, mark):
                    raise StoreUnavailableError(
                        "PostgreSQL: the connection broke, nothing was written"
                    ) from error
        return value

    @contextmanager
    def _writer(self) -> Iterator[str]:
        """A writer's name that no other transaction has inside the block."""
        writer = self._writers.pop() if self._writers else secrets.token_hex(8)
        try:
            yield writer
        except (StoreUnavailableError, asyncio.CancelledError):
            raise  # a server that has not noticed yet may still hold its row: the name is not used again
        except BaseException:
            self._writers.append(writer)
            raise
        self._writers.append(writer)

    async def _committed(self, writer: str, mark: int) -> bool:
        """Whether the mark has been committed; raises where the server can't be asked for too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SETTLE_S
        while True:
            try:
                async with self.connection() as connection:
                    return bool(await connection.fetchval(_ASK, writer) == mark)
            except StoreUnavailableError:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(0.05)


async def _run(
    connection: Connection, work: Callable[[Connection], Awaitable[Value]], writer: str, mark: int
) -> tuple[Value, bool]:
    """What `work` gives in a transaction that is left open, and whether it wrote anything, and left its mark."""
    await connection.execute("BEGIN")
    try:
        value = await work(connection)
        has_written = await connection.fetchval(_MARK, writer, mark) is not None
    except _BROKEN:
        raise
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    return value, has_written


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


async def _commit(connection: Connection, *, has_written: bool) -> None:
    try:
        await connection.execute("COMMIT")
    except _BROKEN as error:
        if not has_written:
            raise
        raise CommitUnknownError from error


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
def _named(dsn: str) -> Iterator[None]:
    """Whoever starts a gateway is told which server it is that does not answer, or does not let it in."""
    try:
        yield
    except StoreUnavailableError as error:
        where = urlsplit(dsn).netloc.rpartition("@")[2] or "the server of libpq's defaults"
        raise StoreUnavailableError(f"{error} (STATE_DATABASE_URL, {where})") from error


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


async def _forget_marks(connection: Connection) -> None:
    await connection.execute(f"DELETE FROM commit_mark WHERE at < now() - interval '{MARKS_KEPT}'")


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
