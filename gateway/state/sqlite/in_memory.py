"""State that ends with its process: a SQLite file in a folder of its own, never synced, which goes when it closes.

It is a file because readers have connections of their own beside the writer's: that takes a write-ahead log, which
SQLite keeps for files alone.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.state.sqlite.store import SqliteStore


class MemoryStore(SqliteStore):
    """The `StateStore` of one process, empty when it opens; each has a folder of its own in `parent`."""

    def __init__(self, parent: Path, *, clock: Clock, writer: Executor, readers: Executor) -> None:
        self._folder = parent / uuid4().hex
        self._held = -1
        path = self._folder / "gateway.db"
        super().__init__(path, clock=clock, writer=writer, readers=readers, synchronous="OFF")

    async def open(self) -> None:
        """See `SqliteStore.open`. What dead processes have left in `parent` goes."""
        self._held = await self._in(self._writer, lambda: _begun(self._folder))
        await super().open()

    async def aclose(self) -> None:
        """See `StateStore.aclose`."""
        await super().aclose()
        await self._in(self._writer, self._end)

    def _end(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def _begun(folder: Path) -> int:
    """Make it, and hold it as this process lives: the kernel lets go of what a dead one held."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(folder.parent):
            _sweep(folder.parent)
            folder.mkdir(mode=0o700)
            return _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StoreUnavailableError(f"can't use {folder.parent}: {error.strerror}") from error


def _sweep(parent: Path) -> None:
    for left in parent.iterdir():
        with suppress(BlockingIOError):
            held = _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
            os.close(held)


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """While a folder is made that nobody holds yet, nobody sweeps."""
    held = _locked(parent, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(held)


def _locked(folder: Path, how: int) -> int:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, how)
    except OSError:
        os.close(opened)
        raise
    return opened
