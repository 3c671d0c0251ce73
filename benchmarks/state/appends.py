"""Owners' fenced appends, beside the same rows written bare: no fence, no numbers, nobody told.

A thousand tasks append as fast as they are answered, 20 events of some 200 bytes each time. A floor writes as many
rows of the same bytes, in transactions as large as the store's are, synced.
"""

import asyncio
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.measure import Figure, disk
from gateway.events import Draft, number
from gateway.state.base import StateStore
from gateway.state.group_commit import MAX_BATCH
from gateway.state.values import Append
from gateway.tasks import Fence
from tests.support.postgres import LIKE_A_SERVER, fresh_database, postgres_server
from tests.support.records import fence_of, output
from tests.support.stores import Backend, PostgresqlBackend, SqliteBackend, SurrealBackend, run

TASKS: Final = 1000
EVENTS: Final = 20
"""Of one append."""
ROUNDS: Final = 5
"""Appends of each task."""
RUNS: Final = 3
TOTAL: Final = TASKS * EVENTS * ROUNDS

Row = tuple[str, int, str, bytes, bool]


def measure() -> list[Figure]:
    """All stores that a machine can have by itself."""
    return asyncio.run(_measured())


async def _measured() -> list[Figure]:
    with disk() as folder, postgres_server(LIKE_A_SERVER) as server:

        async def sqlite() -> float:
            return await _rate(SqliteBackend(_fresh(folder)))

        async def surrealdb() -> float:
            return await _rate(SurrealBackend(_fresh(folder)), rounds=1)

        async def postgresql() -> float:
            async with fresh_database(server) as dsn:
                return await _rate(PostgresqlBackend(dsn))

        async def bare_sqlite() -> float:
            return await asyncio.to_thread(_bare_sqlite, _fresh(folder))

        async def bare_postgresql() -> float:
            async with fresh_database(server) as dsn:
                return await _bare_postgresql(dsn)

        return [
            await _figure("SQLite", sqlite, ("executemany", bare_sqlite), at_least=50_000),
            await _figure("PostgreSQL", postgresql, ("unnest", bare_postgresql), at_least=20_000),
            await _figure("SurrealDB's engine", surrealdb, ("SQLite's executemany", bare_sqlite)),
        ]


async def _figure(
    name: str,
    ours: Callable[[], Awaitable[float]],
    floor: tuple[str, Callable[[], Awaitable[float]]],
    *,
    at_least: float | None = None,
) -> Figure:
    """Ours and the floor in turn."""
    figure = Figure(f"fenced appends, {name}", "ev/s", [], floor_name=floor[0], at_least=at_least)
    for _ in range(RUNS):
        figure.runs.append(await ours())
        figure.floor_runs.append(await floor[1]())
    return figure


async def _rate(backend: Backend, *, rounds: int = ROUNDS) -> float:
    """Events a second over a fresh store."""
    async with backend.opened() as store:
        tasks = [await run(store) for _ in range(TASKS)]
        drafts = _drafts()
        began = time.perf_counter()
        await asyncio.gather(*(_append(store, fence_of(task), drafts, rounds) for task in tasks))
        return TASKS * EVENTS * rounds / (time.perf_counter() - began)


async def _append(store: StateStore, fence: Fence, drafts: Sequence[Draft], rounds: int) -> None:
    for _ in range(rounds):
        fence = await store.append(fence, Append(drafts))


def _drafts() -> list[Draft]:
    return [output("x" * 100) for _ in range(EVENTS)]


def _transactions() -> Iterator[list[Row]]:
    """As many events, in transactions of as many as the store's have."""
    rows, drafts = list[Row](), _drafts()
    for turn in range(ROUNDS):
        for task in range(TASKS):
            task_id = f"task-{task:06}"
            events = number(task_id, drafts, after_seq=turn * EVENTS, now_ms=0)
            rows += [(task_id, event.seq, event.kind, event.frame, event.final) for event in events]
            if len(rows) >= MAX_BATCH * EVENTS:
                yield rows
                rows = []
    if rows:
        yield rows


def _bare_sqlite(folder: Path) -> float:
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(
        "CREATE TABLE event (task_id TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, frame BLOB NOT NULL,"
        " final INTEGER NOT NULL, PRIMARY KEY (task_id, seq)) STRICT, WITHOUT ROWID"
    )
    transactions = list(_transactions())
    began = time.perf_counter()
    for rows in transactions:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")
    took = time.perf_counter() - began
    db.close()
    return TOTAL / took


async def _bare_postgresql(dsn: str) -> float:
    db = await asyncpg.connect(dsn, server_settings={"synchronous_commit": "on"})
    try:
        await db.execute(
            'CREATE TABLE event (task_id text COLLATE "C" NOT NULL, seq bigint NOT NULL, kind text NOT NULL,'
            " frame bytea NOT NULL, final boolean NOT NULL, PRIMARY KEY (task_id, seq))"
        )
        transactions = [list(zip(*rows, strict=True)) for rows in _transactions()]
        began = time.perf_counter()
        for columns in transactions:
            await db.execute(
                "INSERT INTO event SELECT * FROM"
                " unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[], $5::boolean[])",
                *columns,
            )
        return TOTAL / (time.perf_counter() - began)
    finally:
        await db.close()


def _fresh(folder: Path) -> Path:
    """An empty place in it."""
    for old in folder.iterdir():
        shutil.rmtree(old)
    return Path(tempfile.mkdtemp(dir=folder))
