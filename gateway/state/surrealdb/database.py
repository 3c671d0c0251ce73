"""One SurrealDB: the engine in this process, or a server that is dialled; its errors translated, its answers checked.

What is asked has parameters only, never a value in its text. Neither engine nor server keeps a transaction open from
one call to the next: a write reads what it needs, gathers its statements, and they are one transaction, which begins
by making sure that what was read still holds. Where it does not, the write is made anew.

A transaction upserts a row once: of two the engine shows the second, and has the first when it is opened anew.
The engine knows no lock, and two processes over one folder lose each other's writes: a file beside it is locked for
that. It syncs what it commits only where the environment says so before it starts.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from surrealdb import AsyncSurreal, RecordID

from gateway.errors import StoreUnavailableError
from gateway.state.schema import escape, migrations, unescape

Value = TypeVar("Value")

COMMAND_S: Final = 30.0
"""How long one query may take, a connection included."""
TRIES: Final = 20
"""Of a write that others stand in the way of."""
MOST: Final = 1 << 53
"""A number behind all that are in an id."""
_STALE: Final = "stale"
_AGAIN: Final = (_STALE, "can be retried", "already exists")
"""What is said of a transaction that may succeed when it is made anew."""


class _AgainError(Exception):
    """Others stood in the way; nothing was written."""


def record(table: str, *key: str | int) -> RecordID:
    """The id of a row."""
    parts = [escape(part) if isinstance(part, str) else part for part in key]
    return RecordID(table, parts[0] if len(parts) == 1 else parts)


class Statements:
    """What a write asks for, as one transaction. In a statement's text `$_` stands for its values."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.values: dict[str, Any] = {}

    def add(self, text: str, **values: Any) -> None:
        """Ask for something, after all that was asked for."""
        name = f"s{len(self.text)}"
        self.text.append(text.replace("$_", f"${name}"))
        self.values[name] = _escaped(values)

    def check(self, row: RecordID, field: str, value: Any) -> None:
        """Have it made anew where a field of that row, by which its writes are known, has another value by then."""
        self.add(
            f"IF (SELECT VALUE {field} FROM ONLY $_.row) != $_.value {{ THROW '{_STALE}' }}",
            row=row,
            value=value,
        )


class Database:
    """Every method raises `StoreUnavailableError` where the database can't be reached or won't commit."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._folder = Path(url.removeprefix("surrealkv://")) if url.startswith("surrealkv://") else None
        self._is_open = False
        self._connection: Any = None
        self._connecting = asyncio.Lock()
        self._lock: IO[str] | None = None

    @property
    def folder(self) -> Path | None:
        """Where the engine in this process has its data; None for a server."""
        return self._folder

    async def open(self) -> None:
        """Connect and bring the schema up to date; a newer schema than ours is refused."""
        if self._folder is not None:
            self._lock = _locked(self._folder)
            os.environ["SURREAL_SYNC_DATA"] = "true"
        self._is_open = True
        try:
            await self.transact(self._schema)
        except BaseException:
            await self.aclose()  # or whoever tries again would find the folder in use, by us
            raise

    async def _connected(self) -> Any:
        """The connection; to a server, whose connections break, it is made as often as is needed."""
        if not self._is_open:
            raise StoreUnavailableError("the store is not open")
        async with self._connecting:
            if self._connection is None:
                self._connection = await (self._dialled() if self._folder is None else self._started())
        return self._connection

    async def _started(self) -> Any:
        engine: Any = AsyncSurreal(self._url)
        await engine.connect()
        await engine.use("gateway", "gateway")
        return engine

    async def _dialled(self) -> Any:
        parts = urlsplit(self._url)
        namespace, _, name = parts.path.strip("/").partition("/")
        server: Any = AsyncSurreal(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", "")))
        await server.connect()
        if parts.username is not None:
            user, password = unquote(parts.username), unquote(parts.password or "")
            await server.signin({"username": user, "password": password})
        await server.use(namespace or "gateway", name or "gateway")
        return server

    async def aclose(self) -> None:
        """Close the connection, and let go of the folder."""
        self._is_open = False
        await self._hang_up()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, RuntimeError):  # it is of no more use either way
                await connection.close()

    async def ask(self, query: str, **values: Any) -> Any:
        """What one query finds."""
        try:
            (answer,) = await self._query(query, _escaped(values))
        except _AgainError as error:
            raise StoreUnavailableError(f"SurrealDB: {error}") from error
        return _unescaped(answer)

    async def transact(self, write: Callable[[Statements], Awaitable[Value]]) -> Value:
        """What `write` gives, once what it asked for is on disk; it is called anew where others stood in its way.

        Raises what `write` raises, and then nothing is written.
        """
        for _ in range(TRIES):
            statements = Statements()
            value = await write(statements)
            with contextlib.suppress(_AgainError):
                await self.commit(statements)
                return value
        raise StoreUnavailableError("SurrealDB: others stood in the way of a write too often")

    async def commit(self, statements: Statements) -> None:
        """Do what was asked for, all or nothing."""
        if statements.text:
            await self._query("; ".join(("BEGIN", *statements.text, "COMMIT")), statements.values)

    async def _query(self, query: str, values: Mapping[str, Any]) -> list[Any]:
        answer = await self._answer(query, values)
        results = answer.get("result")
        if not isinstance(results, list):
            raise StoreUnavailableError(f"SurrealDB: {answer.get('error')}")
        # An error may be any statement's, and the others of its transaction say only that they were not executed.
        errors = [str(one["result"]) for one in results if one["status"] != "OK"]
        if errors:
            if any(word in error for word in _AGAIN for error in errors):
                raise _AgainError(errors[0])
            told = [error for error in errors if "not executed" not in error] or errors
            raise StoreUnavailableError(f"SurrealDB: {told[0]}")
        return [one["result"] for one in results]

    async def _answer(self, query: str, values: Mapping[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(COMMAND_S):
                answer: dict[str, Any] = await _asked(await self._connected(), query, values)
        except StoreUnavailableError:
            raise
        except Exception as error:  # what a driver and its engine raise has nothing else in common
            if self._folder is None:
                await self._hang_up()
            raise StoreUnavailableError(f"SurrealDB: {type(error).__name__}: {error}") from error
        return answer

    async def _schema(self, statements: Statements) -> None:
        """All that is missing of it; several that start at once over a server migrate it once."""
        schema = record("meta", "schema")
        version = await self.ask("SELECT VALUE version FROM ONLY $id", id=schema)
        missing = migrations("surrealdb", version or 0)
        if not missing:
            return
        statements.check(schema, "version", version)
        for _, script in missing:
            statements.add(script.rstrip().removesuffix(";"))
        # Of two writes of a row in one transaction the engine may keep the first.
        statements.add("UPSERT $_.id SET version = $_.number", id=schema, number=missing[-1][0])


async def _asked(connection: Any, query: str, values: Mapping[str, Any]) -> Any:
    try:
        return await connection.query_raw(query, dict(values))
    except asyncio.CancelledError:
        # The driver cancels what waits for an answer when its connection breaks; that is nobody's wish to end us.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionError("the connection broke") from None


def _locked(folder: Path) -> IO[str]:
    """Hold the folder for this process; the kernel lets go of it with us."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = folder.with_name(f"{folder.name}.lock").open("w")
    except OSError as error:
        raise StoreUnavailableError(f"SurrealDB: can't use {folder}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise StoreUnavailableError(f"SurrealDB: another process uses {folder}") from None
    return held


def _escaped(value: Any) -> Any:
    """`value` with each text in it as SurrealDB takes it."""
    if isinstance(value, str):
        return escape(str(value))
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_escaped(item) for item in value]
    return value


def _unescaped(value: Any) -> Any:
    if isinstance(value, str):
        return unescape(value)
    if isinstance(value, dict):
        return {key: _unescaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    return value


class OverDatabase:
    """A part of the tables, over one database; what is written is asked of `statements`."""

    def __init__(self, db: Database, statements: Statements) -> None:
        self._db = db
        self._statements = statements

    async def _ask(self, query: str, **values: Any) -> Any:
        return await self._db.ask(query, **values)

    def _do(self, text: str, **values: Any) -> None:
        self._statements.add(text, **values)

    def _insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write those rows that are not there yet."""
        if rows:
            self._do(f"INSERT IGNORE INTO {table} $_.rows RETURN NONE", rows=rows)


def within(sizes: Sequence[Mapping[str, Any]], max_bytes: int) -> int:
    """How many of the first rows have no more than `max_bytes` by their `size`: one at least, where there is one."""
    total = 0
    for n, row in enumerate(sizes):
        total += row["size"]
        if n and total > max_bytes:
            return n
    return len(sizes)
