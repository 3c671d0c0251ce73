"""Tasks in SurrealDB: their rows, logs, input and outcome."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from gateway.events import Event
from gateway.state.surrealdb.database import MOST, OverDatabase, record, within
from gateway.state.task_columns import (
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
from gateway.tasks import COLUMNS, TO_RUN, Fence, Outcome, TaskRecord, Wished


class Rows(OverDatabase):
    """See `Tables`."""

    # --- reads ----------------------------------------------------------------------------------------

    async def get_task(self, task_id: str) -> TaskRecord | None:
        """See `Tables.get_task`."""
        row = await self._ask("SELECT * FROM ONLY $id", id=record("task", task_id))
        return None if row is None else _task(row)

    async def lock_task(self, task_id: str) -> TaskRecord | None:
        """See `Tables.lock_task`."""
        row = await self._ask("SELECT * FROM ONLY $id", id=record("task", task_id))
        if row is None:
            return None
        self._statements.check(record("task", task_id), "rev", row["rev"])
        return _task(row)

    async def get_outcome(self, task_id: str) -> Outcome:
        """See `Tables.get_outcome`."""
        query = "SELECT result, error FROM ONLY $id"
        row = await self._ask(query, id=record("task_payload", task_id)) or {}
        return decode_outcome(row.get("result"), row.get("error"))

    async def get_input(self, task_id: str) -> bytes:
        """See `Tables.get_input`."""
        found = await self._ask("SELECT VALUE input FROM ONLY $id", id=record("task_payload", task_id))
        return b"{}" if found is None else bytes(found)

    async def list_tasks(self, query: TaskQuery) -> list[TaskRecord]:
        """See `Tables.list_tasks`."""
        where, values = _conditions(query)
        source = "task"
        if query.task_ids is not None:
            source, values["ids"] = "$ids", [record("task", task_id) for task_id in query.task_ids]
        order = "ORDER BY task_id DESC LIMIT $limit"
        return await self._tasks(f"{source} WHERE {where} {order}", limit=query.limit, **values)

    async def read_events(self, task_id: str, after_seq: int, bounds: tuple[int, int]) -> Page:
        """See `Tables.read_events`."""
        max_events, max_bytes = bounds
        sizes = await self._ask(
            "SELECT seq, size FROM event:[$task, $after]..[$task, $end] LIMIT $limit",
            task=task_id,
            after=after_seq + 1,
            end=MOST,
            limit=max_events,
        )
        if not sizes:
            return await self._no_page(task_id, after_seq)
        taken = within(sizes, max_bytes)
        rows = await self._ask(
            "SELECT * FROM event:[$task, $first]..=[$task, $last]",
            task=task_id,
            first=sizes[0]["seq"],
            last=sizes[taken - 1]["seq"],
        )
        events = [Event(row["seq"], row["kind"], row["frame"], row["final"]) for row in rows]
        if not events:
            return await self._no_page(task_id, after_seq)  # it has been deleted meanwhile
        at_end = taken == len(sizes) < max_events
        return Page(events, at_end=at_end, complete=events[-1].final)

    async def _no_page(self, task_id: str, after_seq: int) -> Page:
        last = await self._ask("SELECT VALUE final FROM ONLY $id", id=record("event", task_id, after_seq))
        gone = last is None and await self.get_task(task_id) is None
        return Page([], at_end=True, complete=gone if last is None else last, gone=gone)

    async def read_input(self, task_id: str, after_n: int, max_bytes: int) -> list[StoredInput]:
        """See `Tables.read_input`."""
        place = {"task": task_id, "after": after_n + 1, "end": MOST}
        sizes = await self._ask("SELECT n, size FROM task_input:[$task, $after]..[$task, $end]", **place)
        limit = within(sizes, max_bytes)
        rows = await self._ask(
            "SELECT * FROM task_input:[$task, $after]..[$task, $end] LIMIT $limit", limit=limit, **place
        )
        return [StoredInput(row["n"], row["data"], row["eof"], row.get("key")) for row in rows]

    async def has_input(self, task_id: str, key: str) -> bool:
        """See `Tables.has_input`."""
        query = "SELECT n FROM task_input:[$task, 0]..[$task, $end] WHERE key = $key LIMIT 1"
        return bool(await self._ask(query, task=task_id, end=MOST, key=key))

    async def heads(self, task_ids: Collection[str]) -> dict[str, int]:
        """See `Tables.heads`."""
        ids = [record("task", task_id) for task_id in task_ids]
        rows = await self._ask("SELECT task_id, last_seq FROM $ids", ids=ids)
        return {row["task_id"]: row["last_seq"] for row in rows}

    async def wished(self, owner: str) -> dict[str, Wished]:
        """See `Tables.wished`."""
        rows = await self._ask(
            "SELECT task_id, desire, inputs, tty FROM task WHERE owner = $owner", owner=owner
        )
        all_of_them = {
            row["task_id"]: decode_wished(row["desire"], row["inputs"], row.get("tty")) for row in rows
        }
        return {task_id: wished for task_id, wished in all_of_them.items() if wished != TO_RUN}

    async def pending_tasks(self, per_subject: int) -> list[TaskRecord]:
        """See `Tables.pending_tasks`."""
        subjects = await self._ask("SELECT subject FROM task WHERE status = 'pending' GROUP BY subject")
        waiting = "status = 'pending' AND subject = $subject ORDER BY priority DESC, task_id LIMIT $limit"
        return [
            task
            for subject in sorted(row["subject"] for row in subjects)
            for task in await self._tasks(f"task WHERE {waiting}", subject=subject, limit=per_subject)
        ]

    async def owned_tasks(self) -> list[TaskRecord]:
        """See `Tables.owned_tasks`."""
        return await self._tasks("task WHERE owner != NONE")

    async def watched_tasks(self) -> list[TaskRecord]:
        """See `Tables.watched_tasks`."""
        return await self._tasks("task WHERE watched = true")

    async def _tasks(self, source: str, **values: Any) -> list[TaskRecord]:
        return [_task(row) for row in await self._ask(f"SELECT * FROM {source}", **values)]

    # --- writes ---------------------------------------------------------------------------------------

    async def take_key(self, new: NewTask, *, now_ms: int, oldest_ms: int) -> tuple[str, bytes] | None:
        """See `Tables.take_key`."""
        key = record("idempotency", new.task.subject, new.idempotency_key or "")
        found = await self._ask("SELECT * FROM ONLY $id", id=key)
        if found is not None and found["created_at"] >= oldest_ms:
            return found["task_id"], found["fingerprint"]
        if found is not None:
            self._do("DELETE $_.id", id=key)
        row = {"task_id": new.task.task_id, "fingerprint": new.fingerprint, "created_at": now_ms}
        self._do("CREATE $_.id CONTENT $_.row RETURN NONE", id=key, row=row)
        return None

    async def add_task(self, task: TaskRecord, data: bytes) -> None:
        """See `Tables.add_task`."""
        pairs = [_pair(*label) for label in task.labels.items()]
        row = encode_task(task) | {"label_pairs": pairs, "rev": 0, "rows_bytes": len(data)}
        row["stored_bytes"] = len(data)
        self._do("CREATE $_.id CONTENT $_.row RETURN NONE", id=record("task", task.task_id), row=row)
        self._do(
            "CREATE $_.id SET input = $_.input RETURN NONE",
            id=record("task_payload", task.task_id),
            input=data,
        )

    async def update_task(self, task_id: str, fields: Mapping[str, Any]) -> None:
        """See `Tables.update_task`."""
        columns = encode(fields)
        sets = ", ".join(f"{name} = $_.columns.{name}" for name in columns)
        self._do(
            f"UPDATE $_.id SET {sets}, rev += 1 RETURN NONE", id=record("task", task_id), columns=columns
        )

    async def move_task(self, fence: Fence, fields: Mapping[str, Any]) -> bool:
        """See `Tables.move_task`."""
        task = await self.lock_task(fence.task_id)
        if task is None or not fence.holds(task):
            return False
        await self.update_task(fence.task_id, fields)
        return True

    async def add_events(self, task_id: str, events: Sequence[Event]) -> None:
        """See `Tables.add_events`."""
        self._do("INSERT INTO event $_.rows RETURN NONE", rows=event_rows(task_id, events))
        self._add_weight(task_id, sum(len(event.frame) for event in events))

    async def set_outcome(self, task_id: str, outcome: Outcome) -> None:
        """See `Tables.set_outcome`."""
        result, error = encode_outcome(outcome)
        self._do(
            "UPDATE $_.id SET result = $_.result, error = $_.error RETURN NONE",
            id=record("task_payload", task_id),
            result=result,
            error=error,
        )
        self._add_weight(task_id, len(result or b"") + len(error or b""))

    async def weigh(self, task_id: str) -> None:
        """See `Tables.weigh`. Rows are weighed as they come: to look at them again is to read them whole."""
        self._do(
            "UPDATE $_.id SET stored_bytes = (rows_bytes ?? 0) + math::sum((SELECT VALUE math::sum((SELECT VALUE size"
            " FROM file:[$parent.set_id, 0]..[$parent.set_id, $_.end])) FROM file_set WHERE task_id = $_.task))"
            " RETURN NONE",
            id=record("task", task_id),
            task=task_id,
            end=MOST,
        )

    async def usage(self, subject: str) -> Usage:
        """See `Tables.usage`."""
        queued = "SELECT count() AS found FROM task WHERE status = 'pending' AND subject = $subject GROUP ALL"
        stored = "SELECT math::sum(stored_bytes) AS found FROM task WHERE subject = $subject GROUP ALL"
        beside = stored.replace("FROM task WHERE", "FROM workflow WHERE stored_bytes > 0 AND")
        asked = [await self._ask(query, subject=subject) for query in (queued, stored, beside)]
        count, *sizes = (rows[0]["found"] if rows else 0 for rows in asked)
        return Usage(count, sum(sizes))

    def _add_weight(self, task_id: str, nbytes: int) -> None:
        self._do(
            "UPDATE $_.id SET rows_bytes += $_.bytes RETURN NONE", id=record("task", task_id), bytes=nbytes
        )

    async def add_input(self, task_id: str, sent: StoredInput) -> None:
        """See `Tables.add_input`."""
        row = {"n": sent.n, "key": sent.key, "data": sent.data, "size": len(sent.data), "eof": sent.eof}
        self._do("CREATE $_.id CONTENT $_.row RETURN NONE", id=record("task_input", task_id, sent.n), row=row)
        self._add_weight(task_id, len(sent.data))

    # --- the store itself -----------------------------------------------------------------------------

    async def take_meta(self, key: str, fresh: bytes) -> bytes:
        """See `Tables.take_meta`."""
        found = await self._ask("SELECT VALUE value FROM ONLY $id", id=record("meta", key))
        if found is not None:
            return bytes(found)
        self._do("CREATE $_.id SET value = $_.value RETURN NONE", id=record("meta", key), value=fresh)
        return fresh

    async def put_meta(self, key: str, value: bytes) -> None:
        """See `Tables.put_meta`."""
        self._do("UPSERT $_.id SET value = $_.value RETURN NONE", id=record("meta", key), value=value)

    async def spend(self, token_id: str, expires_ms: int, now_ms: int) -> bool:
        """See `Tables.spend`."""
        spent = record("spent", token_id)
        if await self._ask("SELECT VALUE expires_at FROM ONLY $id", id=spent) is not None:
            return False
        self._do("DELETE spent WHERE expires_at < $_.now RETURN NONE", now=now_ms)
        self._do("CREATE $_.id SET expires_at = $_.until RETURN NONE", id=spent, until=expires_ms)
        return True


def event_rows(task_id: str, events: Sequence[Event]) -> list[dict[str, Any]]:
    """Rows to insert."""
    return [
        {
            "id": record("event", task_id, event.seq),
            "seq": event.seq,
            "kind": event.kind,
            "frame": event.frame,
            "size": len(event.frame),
            "final": event.final,
        }
        for event in events
    ]


def _task(row: Mapping[str, Any]) -> TaskRecord:
    return decode([row.get(name) for name in COLUMNS])


def _pair(key: str, value: str) -> str:
    """A label as it is looked for."""
    return orjson.dumps([key, value]).decode()


def _conditions(query: TaskQuery) -> tuple[str, dict[str, Any]]:
    where, values = ["true"], dict[str, Any]()
    for name in ("subject", "status", "agent", "session_id", "workflow_id"):
        value = getattr(query, name)
        if value is not None:
            where.append(f"{name} = ${name}")
            values[name] = value
    if query.before is not None:
        where.append("task_id < $before")
        values["before"] = query.before
    if query.label is not None:
        where.append("label_pairs CONTAINS $label")
        values["label"] = _pair(*query.label)
    return " AND ".join(where), values
