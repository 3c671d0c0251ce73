"""Owners' appends, gathered: those of many tasks are one statement, and what comes meanwhile is the next one's."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.clock import Clock
from gateway.errors import LeaseLostError
from gateway.events import Event, TaskEvents, number
from gateway.state.base import Append
from gateway.state.group_commit import Batch, GroupCommit
from gateway.state.postgresql.pool import Connection, Database, escape
from gateway.state.postgresql.rows import encode
from gateway.tasks import Changed, Commit, Fence, TaskRecord

_ARRAYS: Final[dict[Any, str]] = {int: "bigint", bool: "boolean", int | None: "bigint"}
_TYPES: Final = {column.name: _ARRAYS.get(column.type, "text") for column in dataclasses.fields(TaskRecord)}
"""PostgreSQL's types of a row's columns."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Numbered:
    """An append whose events have their numbers and bytes."""

    fence: Fence
    events: Sequence[Event]
    columns: Mapping[str, Any]

    @property
    def after(self) -> Fence:
        return dataclasses.replace(self.fence, last_seq=self.fence.last_seq + len(self.events))


class Appends:
    """All appends of this instance; of one task no more than one at a time."""

    def __init__(self, database: Database, clock: Clock, publish: Callable[[Commit], None]) -> None:
        self._database = database
        self._clock = clock
        self._group: GroupCommit[tuple[Fence, Append]] = GroupCommit(self._run, publish)

    async def append(self, fence: Fence, what: Append) -> Fence:
        """See `StateStore.append`."""
        after: Fence = await self._group.write((fence, what))
        return after

    async def _run(self, writes: Sequence[tuple[Fence, Append]]) -> Batch:
        now_ms = self._clock.now_ms()
        results: list[Any] = [_numbered(fence, what, now_ms) for fence, what in writes]
        good = [one for one in results if isinstance(one, _Numbered)]
        moved = await self._database.transact(lambda connection: _write(connection, good, now_ms))
        done = [one for one in good if one.fence.task_id in moved]
        commit = Commit(
            [TaskEvents(one.fence.task_id, one.events) for one in done if one.events],
            [Changed(one.fence.task_id, one.fence.subject) for one in done],
        )
        return Batch([_result(one, moved) for one in results], commit)


def _numbered(fence: Fence, what: Append, now_ms: int) -> _Numbered | Exception:
    try:
        events = number(fence.task_id, what.drafts, after_seq=fence.last_seq, now_ms=now_ms)
        return _Numbered(fence, events, encode(what.fields))
    except Exception as error:  # noqa: BLE001 - it belongs to the asker, who gets it
        return error


def _result(one: _Numbered | Exception, moved: set[str]) -> Fence | Exception:
    if isinstance(one, Exception):
        return one
    return one.after if one.fence.task_id in moved else LeaseLostError(one.fence.task_id)


async def _write(connection: Connection, appends: Sequence[_Numbered], now_ms: int) -> set[str]:
    """The tasks whose fences held; their rows and events are written, the others' not."""
    alike = defaultdict[tuple[str, ...], list[_Numbered]](list)
    for one in appends:
        alike[tuple(sorted(one.columns))].append(one)
    moved = set[str]()
    for columns, some in alike.items():
        moved |= await _write_alike(connection, columns, some, now_ms)
    return moved


async def _write_alike(
    connection: Connection, columns: Sequence[str], appends: Sequence[_Numbered], now_ms: int
) -> set[str]:
    """As `_write`, for appends that set the same columns."""
    arrays = ["$7::text[]", "$8::text[]", "$9::bigint[]", "$10::bigint[]", "$11::bigint[]"]
    arrays += [f"${n}::{_TYPES[name]}[]" for n, name in enumerate(columns, 12)]
    sets = "".join(f", {name} = given.{name}" for name in columns)
    names = "".join(f", {name}" for name in columns)
    # Rows are locked in one order, so that two instances never wait for each other in a circle.
    rows = await connection.fetch(
        f"""
        WITH given AS (
            SELECT * FROM unnest({", ".join(arrays)}) AS given (task_id, owner, epoch, last_seq, next_seq{names})
        ), held AS (
            SELECT task.task_id FROM task JOIN given USING (task_id)
            WHERE task.owner = given.owner AND task.epoch = given.epoch AND task.last_seq = given.last_seq
            ORDER BY task.task_id FOR UPDATE OF task
        ), moved AS (
            UPDATE task SET last_seq = given.next_seq, updated_at = $1{sets}
            FROM given JOIN held USING (task_id) WHERE task.task_id = given.task_id
            RETURNING task.task_id, given.last_seq
        ), written AS (
            INSERT INTO event SELECT moved.task_id, moved.last_seq + log.n, log.kind, log.frame, log.final
            FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bytea[], $6::boolean[])
                AS log (task_id, n, kind, frame, final) JOIN moved USING (task_id)
        )
        SELECT task_id FROM moved
        """,
        now_ms,
        *_events_of(appends),
        *_guards_of(appends),
        *([_element(one.columns[name]) for one in appends] for name in columns),
    )
    return {task_id for (task_id,) in rows}


def _element(value: Any) -> Any:
    """A value within an array, of which asyncpg doesn't ask our codec."""
    return escape(value) if isinstance(value, str) else value


def _events_of(appends: Sequence[_Numbered]) -> list[list[Any]]:
    logs = [(one.fence.task_id, n, event) for one in appends for n, event in enumerate(one.events, 1)]
    return [
        [task_id for task_id, _, _ in logs],
        [n for _, n, _ in logs],
        [event.kind for _, _, event in logs],
        [event.frame for _, _, event in logs],
        [event.final for _, _, event in logs],
    ]


def _guards_of(appends: Sequence[_Numbered]) -> list[list[Any]]:
    fences = [one.fence for one in appends]
    return [
        [fence.task_id for fence in fences],
        [escape(fence.owner) for fence in fences],
        [fence.epoch for fence in fences],
        [fence.last_seq for fence in fences],
        [one.after.last_seq for one in appends],
    ]
