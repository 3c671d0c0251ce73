"""PostgreSQL's rows as our records, and the queries that read them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.events import Event
from gateway.state.base import Page, Size, StoredInput, TaskQuery
from gateway.state.postgresql.pool import Connection, escape, unescape
from gateway.tasks import COLUMNS, Desire, Outcome, TaskRecord, TaskStatus

TASK_COLUMNS: Final = ", ".join(COLUMNS)
_JSON: Final = frozenset({"labels", "progress", "waiting_for", "tty", "place"})


def encode(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Column values as PostgreSQL takes them."""
    return {
        name: orjson.dumps(value).decode() if name in _JSON and value is not None else value
        for name, value in fields.items()
    }


def decode(row: Sequence[Any]) -> TaskRecord:
    """A row of `TASK_COLUMNS`."""
    fields = dict(zip(COLUMNS, row, strict=True))
    for name in _JSON:
        if fields[name] is not None:
            fields[name] = orjson.loads(fields[name])
    fields["status"] = TaskStatus(fields["status"])
    fields["desire"] = Desire(fields["desire"])
    return TaskRecord(**fields)


async def get_task(db: Connection, task_id: str, *, lock: bool = False) -> TaskRecord | None:
    """The task's row, or None; with `lock` nobody else changes it before the transaction ends."""
    row = await db.fetchrow(
        f"SELECT {TASK_COLUMNS} FROM task WHERE task_id = $1{' FOR UPDATE' * lock}", task_id
    )
    return decode(tuple(row)) if row else None


async def get_outcome(db: Connection, task_id: str) -> Outcome:
    """The task's result or error, or neither."""
    query = "SELECT result, error FROM task_payload WHERE task_id = $1"
    result, error = await db.fetchrow(query, task_id) or (None, None)
    return Outcome(result and orjson.loads(result), error and orjson.loads(error))


async def list_tasks(db: Connection, query: TaskQuery) -> list[TaskRecord]:
    """Rows that match, newest first."""
    where, values = _conditions(query)
    rows = await db.fetch(
        f"SELECT {TASK_COLUMNS} FROM task WHERE {' AND '.join(where)}"
        f" ORDER BY task_id DESC LIMIT ${len(values) + 1}",
        *values,
        query.limit,
    )
    return [decode(tuple(row)) for row in rows]


def _conditions(query: TaskQuery) -> tuple[list[str], list[Any]]:
    where, values = ["TRUE"], list[Any]()

    def add(condition: str, *given: Any) -> None:
        marks = (f"${n}" for n in range(len(values) + 1, len(values) + len(given) + 1))
        where.append(condition.format(*marks))
        values.extend(given)

    for name in ("subject", "status", "agent", "session_id", "workflow_id"):
        value = getattr(query, name)
        if value is not None:
            add(f"{name} = {{}}", value)
    if query.before is not None:
        add("task_id < {}", query.before)
    if query.task_ids is not None:
        add("task_id = ANY({}::text[])", [escape(task_id) for task_id in query.task_ids])
    if query.label is not None:
        add("task_id IN (SELECT task_id FROM task_label WHERE key = {} AND value = {})", *query.label)
    return where, values


async def read_events(db: Connection, task_id: str, after_seq: int, bounds: tuple[int, int]) -> Page:
    """See `StateStore.read_events`; `bounds` are `max_events` and `max_bytes`."""
    max_events, max_bytes = bounds
    rows = await db.fetch(
        """
        SELECT seq, kind, frame, final, found FROM (
            SELECT *, sum(octet_length(frame)) OVER (ORDER BY seq) AS bytes, row_number() OVER (ORDER BY seq) AS n,
                count(*) OVER () AS found
            FROM (SELECT * FROM event WHERE task_id = $1 AND seq > $2 ORDER BY seq LIMIT $3) AS wanted
        ) AS measured WHERE bytes <= $4 OR n = 1 ORDER BY seq
        """,
        task_id,
        after_seq,
        max_events,
        max_bytes,
    )
    events = [Event(seq, kind, frame, final) for seq, kind, frame, final, _ in rows]
    cut = bool(rows) and len(rows) < rows[0]["found"]
    gone = not events and await _is_gone(db, task_id)
    complete = events[-1].final if events else gone or await _is_final(db, task_id, after_seq)
    return Page(events, at_end=not cut and len(events) < max_events, complete=complete, gone=gone)


async def _is_gone(db: Connection, task_id: str) -> bool:
    return not await db.fetchval("SELECT EXISTS (SELECT 1 FROM task WHERE task_id = $1)", task_id)


async def _is_final(db: Connection, task_id: str, seq: int) -> bool:
    return bool(await db.fetchval("SELECT final FROM event WHERE task_id = $1 AND seq = $2", task_id, seq))


async def pending_tasks(db: Connection, per_subject: int) -> list[TaskRecord]:
    """Of each subject that has tasks waiting the first few, by priority, then age."""
    # A loose index scan: one step of the index a subject, not one a task.
    rows = await db.fetch(
        f"""
        WITH RECURSIVE waiting (subject) AS (
            (SELECT min(subject) FROM task WHERE status = 'pending')
            UNION ALL
            SELECT (SELECT min(subject) FROM task WHERE status = 'pending' AND subject > waiting.subject)
            FROM waiting WHERE waiting.subject IS NOT NULL
        )
        SELECT {TASK_COLUMNS} FROM waiting AS of_each JOIN LATERAL (
            SELECT * FROM task WHERE status = 'pending' AND task.subject = of_each.subject
            ORDER BY priority DESC, task_id LIMIT $1
        ) AS task USING (subject) ORDER BY subject, priority DESC, task_id
        """,
        per_subject,
    )
    return [decode(tuple(row)) for row in rows]


async def owned_tasks(db: Connection) -> list[TaskRecord]:
    """Tasks that have an owner."""
    return await _tasks(db, "owner IS NOT NULL")


async def heads(db: Connection, task_ids: Collection[str]) -> dict[str, int]:
    """See `StateStore.heads`."""
    ids = [escape(task_id) for task_id in task_ids]
    found = await db.fetch("SELECT task_id, last_seq FROM task WHERE task_id = ANY($1::text[])", ids)
    return {unescape(row[0]): row[1] for row in found}


async def watched_tasks(db: Connection) -> list[TaskRecord]:
    """Tasks whose detach policy minds who watches."""
    return await _tasks(db, "watched")


async def _tasks(db: Connection, where: str) -> list[TaskRecord]:
    rows = await db.fetch(f"SELECT {TASK_COLUMNS} FROM task WHERE {where} ORDER BY task_id")
    return [decode(tuple(row)) for row in rows]


async def read_input(db: Connection, task_id: str, after_n: int, max_bytes: int) -> list[StoredInput]:
    """See `StateStore.read_input`."""
    rows = await db.fetch(
        """
        SELECT n, data, eof, key FROM (
            SELECT *, sum(octet_length(data)) OVER (ORDER BY n) AS bytes, row_number() OVER (ORDER BY n) AS place
            FROM task_input WHERE task_id = $1 AND n > $2
        ) AS measured WHERE bytes <= $3 OR place = 1 ORDER BY n
        """,
        task_id,
        after_n,
        max_bytes,
    )
    return [StoredInput(n, data, eof, key) for n, data, eof, key in rows]


async def size(db: Connection) -> Size:
    """What the database takes on its disk; what is free of that, its server alone knows."""
    return Size(int(await db.fetchval("SELECT pg_database_size(current_database())")), free=0)
