"""Waiting for what is to come, with a deadline, on any loop's time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from sqlite3 import connect

from gateway.state.sqlite.store import SqliteStore


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    """Return once `holds`; fail when it does not in time."""
    async with asyncio.timeout(within_s):
        while not await holds():
            await let_pass(0.01)


async def turns(count: int) -> None:
    """Let the loop turn so many times, and no time pass."""
    for _ in range(count):
        await let_pass(0)


async def let_pass(seconds: float) -> None:
    """Let so much of the loop's (virtual) time pass."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, passed.set)
    await passed.wait()


@contextmanager
def held_by_another(store: SqliteStore) -> Iterator[None]:
    """Inside the block another process holds the file, and every write is refused at once."""
    assert store._writing._connection is not None
    store._writing._connection.execute("PRAGMA busy_timeout = 0")
    other = connect(store._path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()
