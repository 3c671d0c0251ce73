"""Tasks in SQLite: their rows, logs, input and outcome."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.events import Event
from gateway.state.sqlite import newest
from gateway.state.sqlite.connection import OverConnection
from gateway.state.task_columns import (
    TASK_COLUMNS,
    WISHES_MORE,
    decode,
    decode_outcome,
    decode_wished,
    encode,
    encode_outcome,
    encode_task,
)
from gateway.state.values import (
    NewTask,
    Page,
    StoredInput,
    TaskQuery,
    Usage,
)
from gateway.tasks import Fence, Outcome, TaskRecord, Wished

_MARKS: Final = ", ".join("?" * len(TASK_COLUMNS.split(", ")))

_WEIGH: Final = """
    UPDATE task SET stored_bytes =
        (SELECT ifnull(sum(length(frame)), 0) FROM event WHERE task_id = :task)
        + (SELECT ifnull(sum(length(data)), 0) FROM task_input WHERE task_id = :task)
        + (SELECT ifnull(sum(length(input) + ifnull(length(result), 0) + ifnull(length(error), 0)), 0)
            FROM task_payload WHERE task_id = :task)
        + (SELECT ifnull(sum(size), 0) FROM file_set JOIN file USING (set_id) WHERE file_set.task_id = :task)
    WHERE task_id = :task
"""
_USAGE: Final = """
    SELECT (SELECT count(*) FROM task INDEXED BY task_pending WHERE subject = :subject AND status = 'pending'),
        (SELECT ifnull(sum(stored_bytes), 0) FROM task INDEXED BY task_weight WHERE subject = :subject)
        + (SELECT ifnull(sum(stored_bytes), 0) FROM workflow INDEXED BY workflow_weight
            WHERE subject = :subject AND stored_bytes > 0)
"""


class Rows(OverConnection):
    """See `Tables`."""

    # --- reads ----------------------------------------------------------------------------------------

    async def get_task(self, task_id: str) -> TaskRecord | None:
        """See `Tables.get_task`."""
        row = self._db.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE task_id = ?", (task_id,)).fetchone()
        return decode(row) if row else None

    async def lock_task(self, task_id: str) -> TaskRecord | None:
        """See `Tables.lock_task`; whoever writes has the whole file."""
        return await self.get_task(task_id)

    async def get_outcome(self, task_id: str) -> Outcome:
        """See `Tables.get_outcome`."""
        query = "SELECT result, error FROM task_payload WHERE task_id = ?"
        return decode_outcome(*(self._db.execute(query, (task_id,)).fetchone() or (None, None)))

    async def get_input(self, task_id: str) -> bytes:
        """See `Tables.get_input`."""
        query = "SELECT input FROM task_payload WHERE task_id = ?"
        found = self._db.execute(query, (task_id,)).fetchone()
        return bytes(found[0]) if found else b"{}"

    async def list_tasks(self, query: TaskQuery) -> list[TaskRecord]:
        """See `Tables.list_tasks`."""
        where, values = _conditions(query)
        return self._tasks(f"{' AND '.join(where)} ORDER BY task_id DESC LIMIT ?", *values, query.limit)

    async def read_events(self, task_id: str, after_seq: int, bounds: tuple[int, int]) -> Page:
        """See `Tables.read_events`."""
        max_events, max_bytes = bounds
        events: list[Event] = []
        size, cut = 0, False
        for event in self._events_after(task_id, after_seq, max_events):
            size += len(event.frame)
            cut = bool(events) and size > max_bytes
            if cut:
                break
            events.append(event)
        last = events[-1] if events else self._event_at(task_id, after_seq)
        gone = last is None and await self.get_task(task_id) is None
        complete = last.final if last is not None else gone
        return Page(events, at_end=not cut and len(events) < max_events, complete=complete, gone=gone)

    def _events_after(self, task_id: str, after_seq: int, limit: int) -> Iterator[Event]:
        """The log from `after_seq + 1` on."""
        rows = self._db.execute(newest.AFTER, (newest.place_of(task_id), task_id, after_seq, limit))
        return (Event(seq, kind, frame, bool(final)) for seq, kind, frame, final in rows)

    def _event_at(self, task_id: str, seq: int) -> Event | None:
        """One event, or None where the log has none of that number."""
        return next((event for event in self._events_after(task_id, seq - 1, 1) if event.seq == seq), None)

    async def read_input(self, task_id: str, after_n: int, max_bytes: int) -> list[StoredInput]:
        """See `Tables.read_input`."""
        query = "SELECT n, data, eof, key FROM task_input WHERE task_id = ? AND n > ? ORDER BY n"
        found, size = list[StoredInput](), 0
        for n, data, eof, key in self._db.execute(query, (task_id, after_n)):
            size += len(data)
            if found and size > max_bytes:
                break
            found.append(StoredInput(n, bytes(data), bool(eof), key))
        return found

    async def has_input(self, task_id: str, key: str) -> bool:
        """See `Tables.has_input`."""
        query = "SELECT 1 FROM task_input WHERE task_id = ? AND key = ?"
        return self._db.execute(query, (task_id, key)).fetchone() is not None

    async def heads(self, task_ids: Collection[str]) -> dict[str, int]:
        """See `Tables.heads`."""
        query = "SELECT task_id, last_seq FROM task WHERE task_id IN (SELECT value FROM json_each(?))"
        return dict(self._db.execute(query, (_json_list(task_ids),)))

    async def wished(self, owner: str) -> dict[str, Wished]:
        """See `Tables.wished`."""
        query = f"SELECT task_id, desire, inputs, tty FROM task WHERE owner = ? AND {WISHES_MORE}"
        rows = self._db.execute(query, (owner,))
        return {task_id: decode_wished(*row) for task_id, *row in rows}

    async def pending_tasks(self, per_subject: int) -> list[TaskRecord]:
        """See `Tables.pending_tasks`."""
        waiting = "status = 'pending' AND subject = ? ORDER BY priority DESC, task_id LIMIT ?"
        return [
            task
            for (subject,) in self._db.execute(_SUBJECTS_THAT_WAIT).fetchall()
            for task in self._tasks(waiting, subject, per_subject)
        ]

    async def owned_tasks(self) -> list[TaskRecord]:
        """See `Tables.owned_tasks`."""
        return self._tasks("owner IS NOT NULL")

    async def watched_tasks(self) -> list[TaskRecord]:
        """See `Tables.watched_tasks`."""
        return self._tasks("watched = 1")

    def _tasks(self, where: str, *values: Any) -> list[TaskRecord]:
        return [
            decode(row) for row in self._db.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE {where}", values)
        ]

    # --- writes ---------------------------------------------------------------------------------------

    async def take_key(self, new: NewTask, *, now_ms: int, oldest_ms: int) -> tuple[str, bytes] | None:
        """See `Tables.take_key`."""
        key = (new.task.subject, new.idempotency_key)
        expired = "DELETE FROM idempotency WHERE subject = ? AND key = ? AND created_at < ?"
        self._db.execute(expired, (*key, oldest_ms))
        query = "SELECT task_id, fingerprint FROM idempotency WHERE subject = ? AND key = ?"
        found: tuple[str, bytes] | None = self._db.execute(query, key).fetchone()
        if found is None:
            values = (*key, new.task.task_id, new.fingerprint, now_ms)
            self._db.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)", values)
        return found

    async def add_task(self, task: TaskRecord, data: bytes) -> None:
        """See `Tables.add_task`."""
        values = (*encode_task(task).values(), len(data))
        self._db.execute(f"INSERT INTO task ({TASK_COLUMNS}, stored_bytes) VALUES ({_MARKS}, ?)", values)
        self._db.execute("INSERT INTO task_payload (task_id, input) VALUES (?, ?)", (task.task_id, data))

    async def update_task(self, task_id: str, fields: Mapping[str, Any]) -> None:
        """See `Tables.update_task`."""
        self._update("task_id = ?", fields, task_id)

    async def move_task(self, fence: Fence, fields: Mapping[str, Any]) -> bool:
        """See `Tables.move_task`."""
        guard = "task_id = ? AND owner = ? AND epoch = ? AND last_seq = ?"
        return self._update(guard, fields, fence.task_id, fence.owner, fence.epoch, fence.last_seq)

    def _update(self, where: str, fields: Mapping[str, Any], *values: Any) -> bool:
        columns = encode(fields)
        sets = ", ".join(f"{name} = ?" for name in columns)
        return (
            self._db.execute(f"UPDATE task SET {sets} WHERE {where}", (*columns.values(), *values)).rowcount
            > 0
        )

    async def add_events(self, task_id: str, events: Sequence[Event]) -> None:
        """See `Tables.add_events`."""
        self._db.executemany(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?)",
            [(task_id, event.seq, event.kind, event.frame, event.final) for event in events],
        )

    async def set_outcome(self, task_id: str, outcome: Outcome) -> None:
        """See `Tables.set_outcome`."""
        sql = "UPDATE task_payload SET result = ?, error = ? WHERE task_id = ?"
        self._db.execute(sql, (*encode_outcome(outcome), task_id))

    async def weigh(self, task_id: str) -> None:
        """See `Tables.weigh`."""
        newest.move_all_of(self._db, task_id)
        self._db.execute(_WEIGH, {"task": task_id})

    async def usage(self, subject: str) -> Usage:
        """See `Tables.usage`."""
        return Usage(*self._db.execute(_USAGE, {"subject": subject}).fetchone())

    async def add_input(self, task_id: str, sent: StoredInput) -> None:
        """See `Tables.add_input`."""
        values = (task_id, sent.n, sent.key, sent.data, sent.eof)
        self._db.execute("INSERT INTO task_input (task_id, n, key, data, eof) VALUES (?, ?, ?, ?, ?)", values)

    # --- the store itself -----------------------------------------------------------------------------

    async def take_meta(self, key: str, fresh: bytes) -> bytes:
        """See `Tables.take_meta`."""
        self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, fresh))
        (value,) = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return bytes(value)

    async def put_meta(self, key: str, value: bytes) -> None:
        """See `Tables.put_meta`."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    async def spend(self, token_id: str, expires_ms: int, now_ms: int) -> bool:
        """See `Tables.spend`."""
        self._db.execute("DELETE FROM spent WHERE expires_at < ?", (now_ms,))
        return (
            self._db.execute("INSERT OR IGNORE INTO spent VALUES (?, ?)", (token_id, expires_ms)).rowcount > 0
        )


# A loose index scan: one step of the index a subject, not one a task.
_SUBJECTS_THAT_WAIT: Final = """
    WITH RECURSIVE waiting (subject) AS (
        SELECT min(subject) FROM task WHERE status = 'pending'
        UNION ALL
        SELECT (SELECT min(subject) FROM task WHERE status = 'pending' AND subject > waiting.subject)
        FROM waiting WHERE waiting.subject IS NOT NULL
    )
    SELECT subject FROM waiting WHERE subject IS NOT NULL
"""


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
        values.append(_json_list(query.task_ids))
    if query.label is not None:
        where.append("has_label(labels, ?, ?)")
        values.extend(query.label)
    return where, values


def _json_list(texts: Collection[str]) -> str:
    return orjson.dumps(list(texts)).decode()


def add_functions(db: sqlite3.Connection) -> None:
    """Give a connection what the queries here use."""
    db.create_function("has_label", 3, _has_label, deterministic=True)


def _has_label(labels: str, key: str, value: str) -> bool:
    """Whether a row's `labels` say so; SQLite's own functions for JSON end a text at its first U+0000."""
    return bool(orjson.loads(labels).get(key) == value)
