"""The newest events of many tasks, in the order of their coming.

Theory. What a small row costs is its page: that is written to the write-ahead log, synced, copied to the file, and
read anew, for the pages of a thousand tasks don't fit SQLite's cache. A log has pages of its own, so that a commit of
a hundred tasks touched a hundred of them. Now their events go one behind the other, some fifteen a page, and move to
their logs later, as many as have gathered for each. There are two tables for them: while one is filled, the other's
events are moved, a part of the tasks with each such commit, and in the end all of it is dropped at once. So an event
is in its log, or in a table and not moved; whoever reads a log looks at all three. A task that is weighed, as at its
end, has all in its log. The index has but a short number of each task, so that it has few pages.
"""

import sqlite3
from typing import Any, Final
from zlib import crc32

CROWD: Final = 32
"""From so many tasks on a commit's events come here."""
SMALL_BYTES: Final = 1 << 10
"""Larger ones don't: they fill pages anywhere."""
MOST: Final = 16384
"""So many fill a table: as many for each of a thousand tasks as fit a page."""
PARTS: Final = 32
"""Commits that share the moving of a table, so that none of them takes long."""

Row = tuple[Any, ...]
_PLACES: Final = 1 << 16
_EVENT: Final = "task_id, seq, kind, frame, final"
_TABLES: Final = (0, 1)
_OF_A_TASK: Final = "FROM newest_{0} WHERE place = ?1 AND task_id = ?2"
_UNMOVED: Final = f"{_OF_A_TASK} AND (SELECT filling = {{0}} OR place >= moved FROM newest)"
_SEEN: Final = "SELECT seq, kind, frame, final"
_LOG: Final = (
    f"{_SEEN} FROM event WHERE task_id = ?2 AND seq > ?3",
    *(f"{_SEEN} {_UNMOVED} AND seq > ?3".format(table) for table in _TABLES),
)
AFTER: Final = f"{' UNION ALL '.join(_LOG)} ORDER BY seq LIMIT ?4"
"""A log, wherever its events are: a task's place and id, the seq that they come after, and how many at most."""


def place_of(task_id: str) -> int:
    """Where its events are looked for; another's may be there, too."""
    return crc32(task_id.encode()) % _PLACES


def is_small(row: Row) -> bool:
    """Whether a row of `event` is to come here."""
    return len(row[3]) <= SMALL_BYTES


def filled(db: sqlite3.Connection) -> str:
    """The table that is filled now, as an INSERT names it."""
    (number,) = db.execute("SELECT filling FROM newest").fetchone()
    return f"newest_{number} (place, {_EVENT})"


def with_place(row: Row) -> Row:
    """A row of `event` as one of `filled`."""
    return (place_of(row[0]), *row)


def move_on(db: sqlite3.Connection) -> None:
    """Move a part of a table to the logs, or begin to where the other is full."""
    number, moved = db.execute("SELECT filling, moved FROM newest").fetchone()
    if moved < _PLACES:
        _move(db, f"newest_{1 - number}", moved, moved + _PLACES // PARTS)
    elif (db.execute(f"SELECT max(n) FROM newest_{number}").fetchone()[0] or 0) >= MOST:
        db.execute("UPDATE newest SET filling = 1 - filling, moved = 0")


def _move(db: sqlite3.Connection, table: str, begin: int, end: int) -> None:
    its = f"{_EVENT} FROM {table} WHERE place >= ? AND place < ? ORDER BY task_id, seq"
    db.execute(f"INSERT INTO event SELECT {its}", (begin, end))
    db.execute("UPDATE newest SET moved = ?", (end,))
    if end >= _PLACES:
        db.execute(f"DELETE FROM {table}")


def move_all_of(db: sqlite3.Connection, task_id: str) -> None:
    """Move what one task said to its log."""
    key = (place_of(task_id), task_id)
    for table in _TABLES:
        db.execute(f"INSERT INTO event SELECT {_EVENT} {_UNMOVED}".format(table), key)
        db.execute(f"DELETE {_OF_A_TASK}".format(table), key)
