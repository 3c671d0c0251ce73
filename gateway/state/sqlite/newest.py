"""The newest events of many tasks, in the order of their coming.

Theory. What a small row costs is its page: that is written to the write-ahead log, synced, copied to the file, and
read anew, for the pages of a thousand tasks don't fit SQLite's cache. A log has pages of its own, so that a commit of
a hundred tasks touched a hundred of them. Now their events go one behind the other, some fifteen a page, and move to
their logs later, as many as have gathered for each. There are two tables for them: while one is filled, the other's
events are moved, a part of the tasks with each such commit, and in the end all of it is dropped at once. So an event
is in its log, or in a table and not moved; whoever reads a log looks at all three. A task that is weighed, as at its
end, has all in its log.

An index in the order of tasks would have the same fault: each event goes to another of its pages. So it is made of
runs: when a thousand events have come, their places (a short number of each task) are sorted and put behind the last
run's. Where a task's events are is told by each run; those that are in none yet are looked through.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final
from zlib import crc32

CROWD: Final = 8
"""From so many tasks on a commit's events come here."""
SMALL_BYTES: Final = 1 << 10
"""Larger ones don't: they fill pages anywhere."""
MOST: Final = 32768
"""So many fill a table: as many for each of a thousand tasks as fit two pages."""
PARTS: Final = 64
"""So many times some of a table's are moved, in step with how the other is filled, and done when that is half full."""
RUN: Final = 1024
"""So many make a run: a log is looked for in each run, and one by one in what is in none."""

Row = tuple[Any, ...]
_PLACES: Final = 1 << 16
_EVENT: Final = "task_id, seq, kind, frame, final"
_TABLES: Final = (0, 1)
_RUNS: Final = """
    WITH RECURSIVE known (run) AS (
        SELECT min(run) FROM newest_{0}_place
        UNION ALL
        SELECT (SELECT min(run) FROM newest_{0}_place WHERE run > known.run) FROM known WHERE known.run IS NOT NULL
    )
    SELECT n FROM known CROSS JOIN newest_{0}_place USING (run)
"""
_OF_A_TASK: Final = f"""
    FROM newest_{{0}} WHERE task_id = ?2 AND n IN (
        SELECT n FROM ({_RUNS} WHERE place = ?1)
        UNION ALL
        SELECT n FROM newest_{{0}} WHERE n >= (SELECT sorted FROM newest WHERE filling = {{0}}) AND place = ?1
    )
"""
_UNMOVED: Final = f"{_OF_A_TASK} AND (SELECT filling = {{0}} OR ?1 >= moved FROM newest)"
_SEEN: Final = "SELECT seq, kind, frame, final"
_LOG: Final = (
    f"{_SEEN} FROM event WHERE task_id = ?2 AND seq > ?3",
    *(f"{_SEEN} {_UNMOVED} AND seq > ?3".format(table) for table in _TABLES),
)
AFTER: Final = f"{' UNION ALL '.join(_LOG)} ORDER BY seq LIMIT ?4"
"""A log, wherever its events are: a task's place and id, the seq that they come after, and how many at most."""
_NEXT: Final = """
    SELECT filling, moved, sorted, max(sorted, 1 + ifnull(
        CASE filling WHEN 0 THEN (SELECT max(n) FROM newest_0) ELSE (SELECT max(n) FROM newest_1) END, 0
    )) FROM newest
"""


def place_of(task_id: str) -> int:
    """Where its events are looked for; another's may be there, too."""
    return crc32(task_id.encode()) % _PLACES


def is_small(row: Row) -> bool:
    """Whether a row of `event` is to come here."""
    return len(row[3]) <= SMALL_BYTES


def add(db: sqlite3.Connection, rows: Sequence[Row], write: Callable[[str, Sequence[Row]], None]) -> None:
    """Have these rows of `event` written to the table that is filled now, and move others on."""
    filling, moved, first, following = db.execute(_NEXT).fetchone()
    write(f"newest_{filling}", [(n, place_of(row[0]), *row) for n, row in enumerate(rows, following)])
    following += len(rows)
    is_full = following > MOST and moved >= _PLACES
    if following - first >= RUN or is_full:
        _sort(db, filling, first, following)
    if is_full:
        db.execute("UPDATE newest SET filling = 1 - filling, moved = 0, sorted = 0")
    elif moved < min(due := _PLACES // PARTS * (2 * following * PARTS // MOST), _PLACES):
        _move(db, 1 - filling, moved, due)


def _sort(db: sqlite3.Connection, table: int, first: int, following: int) -> None:
    places = f"SELECT ?1, place, n FROM newest_{table} WHERE n >= ?1 ORDER BY place, n"
    db.execute(f"INSERT OR FAIL INTO newest_{table}_place {places}", (first,))
    db.execute("UPDATE newest SET sorted = ?", (following,))


def _move(db: sqlite3.Connection, table: int, begin: int, end: int) -> None:
    found = f"SELECT n FROM ({_RUNS} WHERE place >= ? AND place < ?)".format(table)
    its = f"{_EVENT} FROM newest_{table} WHERE n IN ({found}) ORDER BY task_id, seq"
    db.execute(f"INSERT OR FAIL INTO event SELECT {its}", (begin, end))
    db.execute("UPDATE newest SET moved = ?", (end,))
    if end >= _PLACES:
        db.execute(f"DELETE FROM newest_{table}")
        db.execute(f"DELETE FROM newest_{table}_place")


def move_all_of(db: sqlite3.Connection, task_id: str) -> None:
    """Move what one task said to its log."""
    key = (place_of(task_id), task_id)
    for table in _TABLES:
        db.execute(f"INSERT INTO event SELECT {_EVENT} {_UNMOVED}".format(table), key)
        db.execute(f"DELETE {_OF_A_TASK}".format(table), key)
