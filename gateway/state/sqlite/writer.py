"""The one connection that writes: its transactions, and what follows where the disk fails.

Theory. A commit is a sync of the write-ahead log. Where that fails, nobody can say what of it is on disk, and a
later sync that succeeds says nothing of it: the kernel may have dropped what it could not write, and forgotten the
error by telling it once. Two things follow. What the failed transaction has left in the log must go, for a process
that opens the file after a crash would take it for committed. And what is written next must not stand behind it.
So after any failure of the disk, and at each opening, the log is emptied before anything else is written: what was
committed is copied to the database, which writes every page of it afresh and syncs that, and the log is cut to
nothing (`wal_checkpoint(TRUNCATE)`). Until that has succeeded nothing is written. A disk that is full, or a lock
that another process holds, leaves nothing behind, and needs none of this.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from gateway.clock import Clock
from gateway.errors import GatewayError, StoreUnavailableError
from gateway.run_now import run_now
from gateway.state.append_batch import Asked, told
from gateway.state.group_commit import Batch, joined
from gateway.state.schema import migrations
from gateway.state.sqlite.appends import write_appends
from gateway.state.sqlite.connection import connect, errors_translated, primary_code
from gateway.state.sqlite.tables import SqliteTables
from gateway.state.transaction import Transaction, appended
from gateway.tasks import Commit

_HARMLESS: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL})
"""Primary result codes of a transaction that was refused before it could be half there."""
_NOTHING: Final = Commit((), ())
Synchronous = Literal["FULL", "OFF"]
"""Whether a commit waits for the disk."""
Write = Callable[[Transaction], Coroutine[Any, Any, Any]] | Asked
"""Anything, or an owner's append without a checkpoint."""


class Writer:
    """Every method waits, and is called by the writer's thread. Each raises `StoreUnavailableError`."""

    def __init__(self, path: Path, clock: Clock, synchronous: Synchronous) -> None:
        self._path = path
        self._synchronous = synchronous
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._is_suspect = True
        self.has_failed = False
        """Whether a write was refused; who has found that they are taken again resets it."""

    def open(self) -> None:
        """Create or migrate the file. What is in the log is made durable before it is believed."""
        with errors_translated():
            connection = self._connection = connect(self._path)
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded by a file that is new
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            # Some builds overwrite what is deleted, which costs files as much as writing them did.
            connection.execute("PRAGMA secure_delete = FAST")
            self._mend(connection)
            _migrate(connection)

    def close(self) -> None:
        """Let go of the file; to be the last to do so empties the log."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, writes: Sequence[Write]) -> Batch:
        """All of them in one transaction, on disk when it returns."""
        with errors_translated():
            connection = self._opened()
            if self._is_suspect:
                self._mend(connection)
            try:
                return self._transact(connection, writes)
            except sqlite3.Error as error:
                self.has_failed = True
                self._is_suspect = primary_code(error) not in _HARMLESS
                if self._is_suspect:
                    self._mend(connection, after=error)
                raise

    def give_back(self, pages: int) -> None:
        """Give so many free pages at the file's end back to the disk."""
        with errors_translated():
            # A script is stepped to its end; a statement without columns is stepped once, which is one page.
            self._opened().executescript(f"PRAGMA incremental_vacuum({pages})")

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailableError("the store is not open")
        return self._connection

    def _transact(self, connection: sqlite3.Connection, writes: Sequence[Write]) -> Batch:
        with contextlib.suppress(_Spoilt):
            return self._in_one(connection, writes, guarded=False)
        return self._in_one(connection, writes, guarded=True)

    def _in_one(self, connection: sqlite3.Connection, writes: Sequence[Write], *, guarded: bool) -> Batch:
        connection.execute("BEGIN IMMEDIATE")
        try:
            batch = _run_all(connection, writes, self._clock.now_ms(), guarded=guarded)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return batch

    def _mend(self, connection: sqlite3.Connection, *, after: sqlite3.Error | None = None) -> None:
        """Empty the log; see the theory above. `after` is what is raised where that fails, too."""
        self._is_suspect = True
        try:
            (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise after or error from error
        if is_busy:
            raise after or StoreUnavailableError("SQLite: another process holds the database")
        self._is_suspect = False


class _Spoilt(Exception):  # noqa: N818 -- a situation, named as one
    """A write has failed when half of it was there, and nothing guarded the others."""


def _run_all(connection: sqlite3.Connection, writes: Sequence[Write], now_ms: int, *, guarded: bool) -> Batch:
    """All writes: where none has to be guarded from the others, the owners' appends first, and as one."""
    asked = [] if guarded else [write for write in writes if isinstance(write, tuple)]
    try:
        appends = [appended(fence, what, now_ms=now_ms) for fence, what in asked]
    except Exception as error:
        raise _Spoilt from error
    if not write_appends(connection, appends):
        raise _Spoilt
    commits, results, written = [told(appends)], list[Any](), iter(appends)
    for write in writes:
        if asked and isinstance(write, tuple):
            results.append(next(written).after)
        else:
            result, commit = _run_alone(connection, write, now_ms, guarded=guarded)
            results.append(result)
            commits.append(commit)
    return Batch(results, joined(commits))


def _run_alone(
    connection: sqlite3.Connection, write: Write, now_ms: int, *, guarded: bool
) -> tuple[Any, Commit]:
    """A write's value or the exception that undid it, and what it has to tell.

    Almost every write that fails does so before it has written anything. So a savepoint of its own, which costs as
    much as a statement twice, is for those alone that share a transaction with one that did not: where `guarded` is
    not said, that raises `_Spoilt`. An error of SQLite's own fails the whole batch.
    """
    tx = Transaction(SqliteTables(connection), now_ms)
    before = connection.total_changes
    if guarded:
        connection.execute("SAVEPOINT one_write")
    try:
        work = tx.append(*write) if isinstance(write, tuple) else write(tx)
        done = run_now(work), tx.commit()
    except sqlite3.Error:
        raise
    except Exception as error:
        if guarded:
            connection.execute("ROLLBACK TO one_write")
        elif connection.total_changes != before:
            raise _Spoilt from error
        # A refusal is no bug to be traced, and its frames hold it, the batch, and all that was read for it.
        refused = error.with_traceback(None) if isinstance(error, GatewayError) else error
        done = refused, _NOTHING
    if guarded:
        connection.execute("RELEASE one_write")
    return done


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date, one migration a transaction; `user_version` counts them."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in migrations("sqlite", version):
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
