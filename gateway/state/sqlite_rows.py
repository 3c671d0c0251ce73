"""SQLite's rows as our records, and the queries that read them. Every function takes a connection and waits."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import orjson

from gateway.events import Event
from gateway.state.base import Page, StoredInput, TaskQuery
from gateway.tasks import COLUMNS, Desire, Outcome, TaskRecord, TaskStatus

TASK_COLUMNS: Final = ", ".join(COLUMNS)
_JSON: Final = frozenset({"labels", "progress", "waiting_for", "tty", "place"})
_BOOLS: Final = ("detached", "watched", "takes_input")


def encode(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Column values as SQLite takes them."""
    return {
        name: orjson.dumps(value).decode() if name in _JSON and value is not None else value
        for name, value in fields.items()
    }


def decode(row: tuple[Any, ...]) -> TaskRecord:
    """A row of `TASK_COLUMNS`."""
    fields = dict(zip(COLUMNS, row, strict=True))
    for name in _JSON:
        if fields[name] is not None:
            fields[name] = orjson.loads(fields[name])
    for name in _BOOLS:
        fields[name] = bool(fields[name])
    fields["status"] = TaskStatus(fields["status"])
    fields["desire"] = Desire(fields["desire"])
    return TaskRecord(**fields)


def get_task(db: sqlite3.Connection, task_id: str) -> TaskRecord | None:
    """The task's row, or None."""
    row = db.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE task_id = ?", (task_id,)).fetchone()
    return decode(row) if row else None


def get_outcome(db: sqlite3.Connection, task_id: str) -> Outcome:
    """The task's result or error, or neither."""
    query = "SELECT result, error FROM task_payload WHERE task_id = ?"
    result, error = db.execute(query, (task_id,)).fetchone() or (None, None)
    return Outcome(result and orjson.loads(result), error and orjson.loads(error))


def list_tasks(db: sqlite3.Connection, query: TaskQuery) -> list[TaskRecord]:
    """Rows that match, newest first."""
    where, values = _conditions(query)
    rows = db.execute(
        f"SELECT {TASK_COLUMNS} FROM task WHERE {' AND '.join(where)} ORDER BY task_id DESC LIMIT ?",
        [*values, query.limit],
    )
    return [decode(row) for row in rows]


def _conditions(query: TaskQuery) -> tuple[list[str], list[Any]]:
    where, values = ["TRUE"], list[Any]()
    for name in ("subject", "status", "agent", "session_id", "workflow_id"):
        value = getattr(query, name)
        if value is not None:
            where.append(f"{name} = ?")
            values.append(value)
    if query.before is not None:
        where.append("task_id < ?")
        values.append(query.before)
    if query.task_ids is not None:
        where.append("task_id IN (SELECT value FROM json_each(?))")
        values.append(orjson.dumps(list(query.task_ids)).decode())
    if query.label is not None:
        where.append("has_label(labels, ?, ?)")
        values.extend(query.label)
    return where, values


def has_label(labels: str, key: str, value: str) -> bool:
    """Whether a row's `labels` say so; SQLite's own functions for JSON end a text at its first U+0000."""
    return bool(orjson.loads(labels).get(key) == value)


def read_events(db: sqlite3.Connection, task_id: str, after_seq: int, bounds: tuple[int, int]) -> Page:
    """See `StateStore.read_events`; `bounds` are `max_events` and `max_bytes`."""
    max_events, max_bytes = bounds
    events: list[Event] = []
    size, cut = 0, False
    for event in _events_after(db, task_id, after_seq, max_events):
        size += len(event.frame)
        cut = bool(events) and size > max_bytes
        if cut:
            break
        events.append(event)
    last = events[-1] if events else _event_at(db, task_id, after_seq)
    gone = last is None and get_task(db, task_id) is None
    complete = last.final if last is not None else gone
    return Page(events, at_end=not cut and len(events) < max_events, complete=complete, gone=gone)


def _events_after(db: sqlite3.Connection, task_id: str, after_seq: int, limit: int) -> Iterator[Event]:
    """The log from `after_seq + 1` on."""
    rows = db.execute(
        "SELECT seq, kind, frame, final FROM event WHERE task_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        (task_id, after_seq, limit),
    )
    return (Event(seq, kind, frame, bool(final)) for seq, kind, frame, final in rows)


def _event_at(db: sqlite3.Connection, task_id: str, seq: int) -> Event | None:
    """One event, or None where the log has none of that number."""
    return next((event for event in _events_after(db, task_id, seq - 1, 1) if event.seq == seq), None)


def heads(db: sqlite3.Connection, task_ids: Collection[str]) -> dict[str, int]:
    """See `StateStore.heads`."""
    ids = orjson.dumps(list(task_ids)).decode()
    return dict(
        db.execute(
            "SELECT task_id, last_seq FROM task WHERE task_id IN (SELECT value FROM json_each(?))", (ids,)
        )
    )


def pending_tasks(db: sqlite3.Connection, per_subject: int) -> list[TaskRecord]:
    """Of each subject that has tasks waiting the first few, by priority, then age."""
    # A loose index scan: one step of the index a subject, not one a task.
    subjects = db.execute(
        """
        WITH RECURSIVE waiting (subject) AS (
            SELECT min(subject) FROM task WHERE status = 'pending'
            UNION ALL
            SELECT (SELECT min(subject) FROM task WHERE status = 'pending' AND subject > waiting.subject)
            FROM waiting WHERE waiting.subject IS NOT NULL
        )
        SELECT subject FROM waiting WHERE subject IS NOT NULL
        """
    ).fetchall()
    return [
        decode(row)
        for (subject,) in subjects
        for row in db.execute(
            f"SELECT {TASK_COLUMNS} FROM task WHERE status = 'pending' AND subject = ?"
            " ORDER BY priority DESC, task_id LIMIT ?",
            (subject, per_subject),
        )
    ]


def owned_tasks(db: sqlite3.Connection) -> list[TaskRecord]:
    """Tasks that have an owner."""
    return [decode(row) for row in db.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE owner IS NOT NULL")]


def watched_tasks(db: sqlite3.Connection) -> list[TaskRecord]:
    """Tasks whose detach policy minds who watches."""
    return [decode(row) for row in db.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE watched = 1")]


def read_input(db: sqlite3.Connection, task_id: str, after_n: int, max_bytes: int) -> list[StoredInput]:
    """See `StateStore.read_input`."""
    rows = db.execute(
        "SELECT n, data, eof, key FROM task_input WHERE task_id = ? AND n > ? ORDER BY n", (task_id, after_n)
    )
    found, size = list[StoredInput](), 0
    for n, data, eof, key in rows:
        size += len(data)
        if found and size > max_bytes:
            break
        found.append(StoredInput(n, bytes(data), bool(eof), key))
    return found
