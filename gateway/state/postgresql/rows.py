"""Tasks in PostgreSQL: their rows, logs, input and outcome."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from gateway.events import Event
from gateway.state.postgresql.pool import OverConnection, rows_written
from gateway.state.schema import escape, unescape
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
from gateway.tasks import COLUMNS, Fence, Outcome, TaskRecord, Wished

_MARKS: Final = ", ".join(f"${n}" for n in range(1, len(COLUMNS) + 1))


class Rows(OverConnection):
    """See `Tables`."""

    # --- reads ----------------------------------------------------------------------------------------

    async def get_task(self, task_id: str) -> TaskRecord | None:
        """See `Tables.get_task`."""
        row = await self._db.fetchrow(f"SELECT {TASK_COLUMNS} FROM task WHERE task_id = $1", task_id)
        return decode(tuple(row)) if row else None

    async def lock_task(self, task_id: str) -> TaskRecord | None:
        """See `Tables.lock_task`."""
        query = f"SELECT {TASK_COLUMNS} FROM task WHERE task_id = $1 FOR UPDATE"
        row = await self._db.fetchrow(query, task_id)
        return decode(tuple(row)) if row else None

    async def get_outcome(self, task_id: str) -> Outcome:
        """See `Tables.get_outcome`."""
        query = "SELECT result, error FROM task_payload WHERE task_id = $1"
        return decode_outcome(*(await self._db.fetchrow(query, task_id) or (None, None)))

    async def get_input(self, task_id: str) -> bytes:
        """See `Tables.get_input`."""
        query = "SELECT input FROM task_payload WHERE task_id = $1"
        found: bytes | None = await self._db.fetchval(query, task_id)
        return b"{}" if found is None else found

    async def list_tasks(self, query: TaskQuery) -> list[TaskRecord]:
        """See `Tables.list_tasks`."""
        where, values = _conditions(query)
        order = f"ORDER BY task_id DESC LIMIT ${len(values) + 1}"
        return await self._tasks(f"{' AND '.join(where)} {order}", *values, query.limit)

    async def read_events(self, task_id: str, after_seq: int, bounds: tuple[int, int]) -> Page:
        """See `Tables.read_events`."""
        max_events, max_bytes = bounds
        rows = await self._db.fetch(_EVENTS, task_id, after_seq, max_events, max_bytes)
        events = [Event(seq, kind, frame, final) for seq, kind, frame, final, _ in rows]
        cut = bool(rows) and len(rows) < rows[0]["found"]
        gone = not events and await self._is_gone(task_id)
        complete = events[-1].final if events else gone or await self._is_final(task_id, after_seq)
        return Page(events, at_end=not cut and len(events) < max_events, complete=complete, gone=gone)

    async def _is_gone(self, task_id: str) -> bool:
        return not await self._db.fetchval("SELECT EXISTS (SELECT 1 FROM task WHERE task_id = $1)", task_id)

    async def _is_final(self, task_id: str, seq: int) -> bool:
        query = "SELECT final FROM event WHERE task_id = $1 AND seq = $2"
        return bool(await self._db.fetchval(query, task_id, seq))

    async def read_input(self, task_id: str, after_n: int, max_bytes: int) -> list[StoredInput]:
        """See `Tables.read_input`."""
        rows = await self._db.fetch(
            """
            SELECT n, data, eof, key FROM (
                SELECT *, sum(octet_length(data)) OVER (ORDER BY n) AS bytes, row_number() OVER (ORDER BY n) AS place
                FROM task_input WHERE task_id = $1 AND n > $2
            ) AS measured WHERE bytes <= $3 OR place = 1 ORDER BY n
            """,
            *(task_id, after_n, max_bytes),
        )
        return [StoredInput(n, data, eof, key) for n, data, eof, key in rows]

    async def has_input(self, task_id: str, key: str) -> bool:
        """See `Tables.has_input`."""
        query = "SELECT EXISTS (SELECT 1 FROM task_input WHERE task_id = $1 AND key = $2)"
        return bool(await self._db.fetchval(query, task_id, key))

    async def heads(self, task_ids: Collection[str]) -> dict[str, int]:
        """See `Tables.heads`."""
        ids = [escape(task_id) for task_id in task_ids]
        query = "SELECT task_id, last_seq FROM task WHERE task_id = ANY($1::text[])"
        return {unescape(row[0]): row[1] for row in await self._db.fetch(query, ids)}

    async def wished(self, owner: str) -> dict[str, Wished]:
        """See `Tables.wished`."""
        query = f"SELECT task_id, desire, inputs, tty FROM task WHERE owner = $1 AND {WISHES_MORE}"
        rows = await self._db.fetch(query, owner)
        return {unescape(task_id): decode_wished(*row) for task_id, *row in rows}

    async def pending_tasks(self, per_subject: int) -> list[TaskRecord]:
        """See `Tables.pending_tasks`."""
        return [decode(tuple(row)) for row in await self._db.fetch(_PENDING, per_subject)]

    async def owned_tasks(self) -> list[TaskRecord]:
        """See `Tables.owned_tasks`."""
        return await self._tasks("owner IS NOT NULL ORDER BY task_id")

    async def watched_tasks(self) -> list[TaskRecord]:
        """See `Tables.watched_tasks`."""
        return await self._tasks("watched ORDER BY task_id")

    async def _tasks(self, where: str, *values: Any) -> list[TaskRecord]:
        rows = await self._db.fetch(f"SELECT {TASK_COLUMNS} FROM task WHERE {where}", *values)
        return [decode(tuple(row)) for row in rows]

    # --- writes ---------------------------------------------------------------------------------------

    async def take_key(self, new: NewTask, *, now_ms: int, oldest_ms: int) -> tuple[str, bytes] | None:
        """See `Tables.take_key`."""
        key = (new.task.subject, new.idempotency_key)
        expired = "DELETE FROM idempotency WHERE subject = $1 AND key = $2 AND created_at < $3"
        await self._db.execute(expired, *key, oldest_ms)
        while True:
            # Who comes second waits here until the first is on disk, or has failed.
            taken = await self._db.execute(
                "INSERT INTO idempotency VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                *(*key, new.task.task_id, new.fingerprint, now_ms),
            )
            if rows_written(taken):
                return None
            query = "SELECT task_id, fingerprint FROM idempotency WHERE subject = $1 AND key = $2"
            found = await self._db.fetchrow(query, *key)
            if found is not None:
                return found["task_id"], found["fingerprint"]

    async def add_task(self, task: TaskRecord, data: bytes) -> None:
        """See `Tables.add_task`."""
        values = encode_task(task).values()
        sql = f"INSERT INTO task ({TASK_COLUMNS}, stored_bytes) VALUES ({_MARKS}, ${len(values) + 1})"
        await self._db.execute(sql, *values, len(data))
        sql = "INSERT INTO task_payload (task_id, input) VALUES ($1, $2)"
        await self._db.execute(sql, task.task_id, data)
        labels = [(task.task_id, key, value) for key, value in task.labels.items()]
        await self._db.executemany("INSERT INTO task_label VALUES ($1, $2, $3)", labels)

    async def update_task(self, task_id: str, fields: Mapping[str, Any]) -> None:
        """See `Tables.update_task`."""
        await self._update("task_id = $1", fields, task_id)

    async def move_task(self, fence: Fence, fields: Mapping[str, Any]) -> bool:
        """See `Tables.move_task`."""
        guard = "task_id = $1 AND owner = $2 AND epoch = $3 AND last_seq = $4"
        return await self._update(guard, fields, fence.task_id, fence.owner, fence.epoch, fence.last_seq)

    async def _update(self, where: str, fields: Mapping[str, Any], *values: Any) -> bool:
        columns = encode(fields)
        sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, len(values) + 1))
        sql = f"UPDATE task SET {sets} WHERE {where}"
        return rows_written(await self._db.execute(sql, *values, *columns.values())) > 0

    async def add_events(self, task_id: str, events: Sequence[Event]) -> None:
        """See `Tables.add_events`."""
        await self._db.executemany(
            "INSERT INTO event VALUES ($1, $2, $3, $4, $5)",
            [(task_id, event.seq, event.kind, event.frame, event.final) for event in events],
        )

    async def set_outcome(self, task_id: str, outcome: Outcome) -> None:
        """See `Tables.set_outcome`."""
        sql = "UPDATE task_payload SET result = $2, error = $3 WHERE task_id = $1"
        await self._db.execute(sql, task_id, *encode_outcome(outcome))

    async def weigh(self, task_id: str) -> None:
        """See `Tables.weigh`."""
        await self._db.execute(_WEIGH, task_id)

    async def usage(self, subject: str) -> Usage:
        """See `Tables.usage`."""
        return Usage(*(await self._db.fetch(_USAGE, subject))[0])

    async def add_input(self, task_id: str, sent: StoredInput) -> None:
        """See `Tables.add_input`."""
        sql = "INSERT INTO task_input (task_id, n, key, data, eof) VALUES ($1, $2, $3, $4, $5)"
        await self._db.execute(sql, task_id, sent.n, sent.key, sent.data, sent.eof)

    # --- the store itself -----------------------------------------------------------------------------

    async def take_meta(self, key: str, fresh: bytes) -> bytes:
        """See `Tables.take_meta`."""
        await self._db.execute("INSERT INTO meta VALUES ($1, $2) ON CONFLICT DO NOTHING", key, fresh)
        return bytes(await self._db.fetchval("SELECT value FROM meta WHERE key = $1", key))

    async def put_meta(self, key: str, value: bytes) -> None:
        """See `Tables.put_meta`."""
        sql = "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2"
        await self._db.execute(sql, key, value)

    async def spend(self, token_id: str, expires_ms: int, now_ms: int) -> bool:
        """See `Tables.spend`."""
        await self._db.execute("DELETE FROM spent WHERE expires_at < $1", now_ms)
        sql = "INSERT INTO spent VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING token_id"
        return await self._db.fetchval(sql, token_id, expires_ms) is not None


_WEIGH: Final = """
    UPDATE task SET stored_bytes = (
        (SELECT coalesce(sum(octet_length(frame)), 0) FROM event WHERE task_id = $1)
        + (SELECT coalesce(sum(octet_length(data)), 0) FROM task_input WHERE task_id = $1)
        + (SELECT coalesce(sum(octet_length(input) + coalesce(octet_length(result), 0)
            + coalesce(octet_length(error), 0)), 0) FROM task_payload WHERE task_id = $1)
        + (SELECT coalesce(sum(size), 0) FROM file_set JOIN file USING (set_id) WHERE file_set.task_id = $1)
    )::bigint WHERE task_id = $1
"""
_USAGE: Final = """
    SELECT (SELECT count(*) FROM task WHERE subject = $1 AND status = 'pending'),
        (SELECT coalesce(sum(stored_bytes), 0)::bigint FROM task WHERE subject = $1)
        + (SELECT coalesce(sum(stored_bytes), 0)::bigint FROM workflow WHERE subject = $1 AND stored_bytes > 0)
"""
_EVENTS: Final = """
    SELECT seq, kind, frame, final, found FROM (
        SELECT *, sum(octet_length(frame)) OVER (ORDER BY seq) AS bytes, row_number() OVER (ORDER BY seq) AS n,
            count(*) OVER () AS found
        FROM (SELECT * FROM event WHERE task_id = $1 AND seq > $2 ORDER BY seq LIMIT $3) AS wanted
    ) AS measured WHERE bytes <= $4 OR n = 1 ORDER BY seq
"""
# A loose index scan: one step of the index a subject, not one a task.
_PENDING: Final = f"""
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
"""


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
