"""Owners' appends, gathered: those of many tasks are one statement, and what comes meanwhile is the next one's."""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from gateway.clock import Clock
from gateway.events import may_wait
from gateway.state.append_batch import AppendBatch, Asked, alike, told
from gateway.state.group_commit import Batch, GroupCommit, in_task
from gateway.state.postgresql.pool import Connection, Database
from gateway.state.schema import escape
from gateway.state.task_columns import encode
from gateway.state.transaction import Appended
from gateway.state.values import Appender
from gateway.tasks import Commit, TaskRecord

_ARRAYS: Final[dict[Any, str]] = {int: "bigint", bool: "boolean", int | None: "bigint"}
_TYPES: Final = {column.name: _ARRAYS.get(column.type, "text") for column in dataclasses.fields(TaskRecord)}
"""PostgreSQL's types of a row's columns."""


class Appends:
    """All appends of this instance; of one task no more than one at a time."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        publish: Callable[[Commit], None],
        *,
        timed: Callable[[Awaitable[set[str]]], Awaitable[set[str]]],
    ) -> None:
        self._timed = timed
        self._database = database
        self._clock = clock
        self._group: GroupCommit[Asked] = GroupCommit(in_task(self._run), publish)

    async def append(self, appender: Appender) -> None:
        """See `StateStore.append_soon`; returns when it has been told."""
        asked = appender.take()
        if asked is None:
            return
        try:
            appender.told(await self._group.write(asked, may_wait=may_wait(asked[1].drafts)))
        except Exception as error:  # noqa: BLE001 - whatever it was, it is the appender's
            appender.told(error)

    def hurry(self) -> None:
        """See `StateStore.hurry`."""
        self._group.hurry()

    async def _run(self, asked: Sequence[Asked]) -> Batch:
        gathered = AppendBatch(asked, self._clock.now_ms())
        moved = await self._timed(
            self._database.transact(lambda connection: _write(connection, gathered.good))
        )
        written = [one for one in gathered.good if one.fence.task_id in moved]
        return Batch(gathered.answers(written), told(written))


async def _write(connection: Connection, appends: Sequence[Appended]) -> set[str]:
    """The tasks whose fences held; their rows and events are written, the others' not."""
    moved = set[str]()
    for names, some in alike(appends).items():
        moved |= await _write_alike(connection, names, some)
    return moved


async def _write_alike(connection: Connection, names: Sequence[str], appends: Sequence[Appended]) -> set[str]:
    """As `_write`, for appends that set the same columns."""
    arrays = ["$6::text[]", "$7::text[]", "$8::bigint[]", "$9::bigint[]"]
    arrays += [f"${n}::{_TYPES[name]}[]" for n, name in enumerate(names, 10)]
    # Rows are locked in one order, so that two instances never wait for each other in a circle.
    rows = await connection.fetch(
        f"""
        WITH given AS (
            SELECT * FROM unnest({", ".join(arrays)})
                AS given (task_id, owner, epoch, fenced_seq, {", ".join(names)})
        ), held AS (
            SELECT task.task_id FROM task JOIN given USING (task_id)
            WHERE task.owner = given.owner AND task.epoch = given.epoch AND task.last_seq = given.fenced_seq
            ORDER BY task.task_id FOR UPDATE OF task
        ), moved AS (
            UPDATE task SET {", ".join(f"{name} = given.{name}" for name in names)}
            FROM given JOIN held USING (task_id) WHERE task.task_id = given.task_id
            RETURNING task.task_id
        ), written AS (
            INSERT INTO event SELECT log.* FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[], $5::boolean[])
                AS log (task_id, seq, kind, frame, final) JOIN moved USING (task_id)
        )
        SELECT task_id FROM moved
        """,
        *_events_of(appends),
        *_columns_of(names, appends),
    )
    return {task_id for (task_id,) in rows}


def _element(value: Any) -> Any:
    """A value within an array, of which asyncpg doesn't ask our codec."""
    return escape(value) if isinstance(value, str) else value


def _events_of(appends: Sequence[Appended]) -> list[list[Any]]:
    logs = [(one.fence.task_id, event) for one in appends for event in one.events]
    return [
        [task_id for task_id, _ in logs],
        [event.seq for _, event in logs],
        [event.kind for _, event in logs],
        [event.frame for _, event in logs],
        [event.final for _, event in logs],
    ]


def _columns_of(names: Sequence[str], appends: Sequence[Appended]) -> list[list[Any]]:
    fences = [one.fence for one in appends]
    rows = [encode(one.fields) for one in appends]
    return [
        [fence.task_id for fence in fences],
        [escape(fence.owner) for fence in fences],
        [fence.epoch for fence in fences],
        [fence.last_seq for fence in fences],
        *([_element(row[name]) for row in rows] for name in names),
    ]
