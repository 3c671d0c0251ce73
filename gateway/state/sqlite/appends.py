"""Owners' appends that share a transaction, in as few statements as hold them all.

Each step of a statement gives up the interpreter's lock, and has to get it back from the event loop's thread, which
keeps it for as long as it is busy. So how long a commit takes goes with its statements, not with its rows: each writes
one of a few numbers of them, so that few are ever prepared. `OR FAIL` saves the copy that SQLite makes of each page to
be able to undo a statement alone: an error of its undoes the whole transaction.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any, Final

from gateway.state.append_batch import alike
from gateway.state.sqlite import newest
from gateway.state.task_columns import encode_column
from gateway.state.transaction import Appended

SIZES: Final = (64, 32)
"""Rows of one statement; larger ones gain nothing. Fewer are one statement, however many they are."""
_FENCE: Final = ("task_id", "owner", "epoch", "last_seq")

Row = tuple[Any, ...]


def write_appends(db: sqlite3.Connection, appends: Sequence[Appended]) -> bool:
    """Write their rows and events; False where a fence did not hold, and then some of them may be written."""
    for names, some in alike(appends).items():
        if _execute(db, partial(_moves, names), _rows(names, some)) != len(some):
            return False
    rows: list[Row] = [
        (one.fence.task_id, event.seq, event.kind, event.frame, event.final)
        for one in appends
        for event in one.events
    ]
    if len(appends) < newest.CROWD:
        _add(db, "event", rows)
    else:
        _add(db, "event", [row for row in rows if not newest.is_small(row)])
        newest.add(db, [row for row in rows if newest.is_small(row)], partial(_add, db))
    return True


def _rows(names: Sequence[str], appends: Sequence[Appended]) -> list[Row]:
    """The columns of each, and of its fence."""
    columns = [encode_column(name, [one.fields[name] for one in appends]) for name in names]
    fences = [one.fence for one in appends]
    return list(
        zip(
            *columns,
            [fence.task_id for fence in fences],
            [fence.owner for fence in fences],
            [fence.epoch for fence in fences],
            [fence.last_seq for fence in fences],
            strict=True,
        )
    )


def _execute(db: sqlite3.Connection, statement: Callable[[int], str], rows: Sequence[Row]) -> int:
    """How many rows it has changed; `statement` is given how many it is for."""
    changed = 0
    for some in _parts(rows):
        values = tuple(chain.from_iterable(some))
        changed += db.execute(statement(len(some)), values).rowcount
    return changed


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    begin = 0
    while left := len(rows) - begin:
        size = next((size for size in SIZES if size <= left), left)
        yield rows[begin : begin + size]
        begin += size


@cache
def _moves(names: tuple[str, ...], count: int) -> str:
    """Sets the columns `names` of `count` tasks whose fences hold."""
    if count == 1:  # half as dear as the other
        return f"UPDATE task SET {_equal(names, ', ')} WHERE {_equal(_FENCE, ' AND ')}"
    columns = [f"given.column{n}" for n in range(1, len(names) + len(_FENCE) + 1)]
    sets = ", ".join(map("{} = {}".format, names, columns))
    fence = " AND ".join(map("task.{} = {}".format, _FENCE, columns[len(names) :]))
    return f"UPDATE OR FAIL task SET {sets} FROM ({_values(len(columns), count)}) AS given WHERE {fence}"


def _add(db: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    if rows:
        _execute(db, partial(_adds, table, len(rows[0])), rows)


@cache
def _adds(table: str, columns: int, count: int) -> str:
    return f"INSERT OR FAIL INTO {table} {_values(columns, count)}"


def _equal(names: Sequence[str], between: str) -> str:
    return between.join(f"{name} = ?" for name in names)


def _values(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"
