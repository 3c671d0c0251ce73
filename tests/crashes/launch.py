"""A gateway that kills itself (SIGKILL) at a named point of its code, which knows nothing of this.

    python -m tests.crashes.launch WHEN WHERE NTH CONDITION serve --data-dir DIR …

WHEN is `before` or `after` a call of WHERE (`module:name` or `module:Class.name`), NTH counts the calls for
which CONDITION holds; or WHEN is `statement`, and WHERE the beginning of an SQL statement that is about to run.
"""

import functools
import importlib
import inspect
import itertools
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.__main__ import main

CONDITIONS: Final[Mapping[str, Callable[..., bool]]] = {
    "always": lambda *_args, **_named: True,
    "commits the first event": lambda _store, commit: any(b.first_seq == 1 for b in commit.events),
    "commits output": lambda _store, commit: any(
        event.kind == "output" for batch in commit.events for event in batch.events
    ),
    "commits a checkpoint": lambda _store, commit: any(
        event.kind == "checkpoint" for batch in commit.events for event in batch.events
    ),
    "commits the last event": lambda _store, commit: any(b.events[-1].final for b in commit.events),
    "has output": lambda _self, drafts, *_rest: any(draft.kind == "output" for draft in drafts),
    "appends output": lambda _db, appends: any(
        event.kind == "output" for one in appends for event in one.events
    ),
    "hands on output": lambda _hub, batch: any(event.kind == "output" for event in batch.events),
    "of a run": lambda _store, _set_id, _batch, fence=None: fence is not None,
    "third migration": lambda path, *_args, **_named: path.name.startswith("0003"),
}
"""What a call must be for it to count, by its arguments."""


def die() -> None:
    """End this process as a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(when: str, where: str, nth: int, condition: str) -> None:
    """Have this process killed there."""
    if when == "statement":
        _arm_statement(where, nth)
        return
    owner, name = place_of(where)
    deadly = _Deadly(before=when == "before", nth=nth, holds=CONDITIONS[condition])
    setattr(owner, name, deadly.around(getattr(owner, name)))


def place_of(where: str) -> tuple[Any, str]:
    """What has the function that `where` names, and its name there."""
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), name


class _Deadly:
    """Kills at the `nth` call for which `holds`."""

    def __init__(self, *, before: bool, nth: int, holds: Callable[..., bool]) -> None:
        self._before = before
        self._nth = nth
        self._holds = holds
        self._counts = itertools.count(1)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, armed."""
        if inspect.iscoroutinefunction(function):
            return self._around_coroutine(function)

        @functools.wraps(function)
        def armed(*args: Any, **named: Any) -> Any:
            due = self._is_due(args, named)
            if due and self._before:
                die()
            value = function(*args, **named)
            if due:
                die()
            return value

        return armed

    def _around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def armed(*args: Any, **named: Any) -> Any:
            due = self._is_due(args, named)
            if due and self._before:
                die()
            value = await function(*args, **named)
            if due:
                die()
            return value

        return armed

    def _is_due(self, args: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
        return self._holds(*args, **named) and next(self._counts) == self._nth


def _arm_statement(begins: str, nth: int) -> None:
    counts = itertools.count(1)
    wanted = re.compile(re.escape(begins).replace(r"\ ", r"\s+"))

    def traced(statement: str) -> None:
        if wanted.match(statement.strip()) and next(counts) == nth:
            die()

    connect = sqlite3.connect

    def connected(*args: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **named)
        connection.set_trace_callback(traced)
        return connection

    sqlite3.connect = connected  # type: ignore[assignment]


if __name__ == "__main__":
    _, when, where, nth, condition, *rest = sys.argv
    arm(when, where, int(nth), condition)
    sys.argv = ["gateway", *rest]
    main()
