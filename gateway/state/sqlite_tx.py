"""One SQLite transaction: the writes that share it, and what it will have to publish."""

import dataclasses
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from gateway.checkpoints import NewCheckpoint
from gateway.errors import GatewayError, LeaseLostError
from gateway.events import Draft, TaskEvents, number
from gateway.files import Batch
from gateway.state import sqlite_checkpoints as checkpoints
from gateway.state import sqlite_files as files
from gateway.state import sqlite_retention as retention
from gateway.state import sqlite_rows as rows
from gateway.state import sqlite_workflows as workflows
from gateway.state.base import (
    KEY_LIFETIME_MS,
    Append,
    Created,
    Decide,
    NewInput,
    NewTask,
    Recovery,
    Retention,
)
from gateway.tasks import (
    COLUMNS,
    ENDED,
    Change,
    Changed,
    Commit,
    Desire,
    Fence,
    Outcome,
    TaskRecord,
    TaskStatus,
    submitted,
    told_of,
)
from gateway.workflow_record import WorkflowRecord

Value = TypeVar("Value")


class Transaction:
    """What the writer does between BEGIN and COMMIT; each write is undone alone if it raises."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        self._db = connection
        self._now_ms = now_ms
        self._events: list[TaskEvents] = []
        self._changed: list[Changed] = []

    def run(self, write: Callable[["Transaction"], Any]) -> Any:
        """The write's value, or the exception that undid it. An error of SQLite's own fails the whole batch."""
        told = len(self._events), len(self._changed)
        self._db.execute("SAVEPOINT one_write")
        try:
            value = write(self)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the asker, who gets it
            self._db.execute("ROLLBACK TO one_write")
            del self._events[told[0] :], self._changed[told[1] :]
            value = error
        self._db.execute("RELEASE one_write")
        return value

    def commit(self) -> Commit:
        """What to publish once this is on disk."""
        return Commit(tuple(self._events), tuple(self._changed))

    def meta(self, key: str, fresh: bytes) -> bytes:
        """The value of `key`, which is `fresh` where there was none."""
        self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, fresh))
        (value,) = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return bytes(value)

    def do(self, write: Callable[[sqlite3.Connection, int], Value]) -> Value:
        """A write that publishes nothing; it is given the connection and the time."""
        return write(self._db, self._now_ms)

    def probe(self, size: int) -> None:
        """Write something of `size` bytes, in the place of what the last probe wrote."""
        value = self._now_ms.to_bytes(8, "big") + bytes(size)
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('probe', ?)", (value,))

    # --- submit ---------------------------------------------------------------------------------------

    def create_task(self, new: NewTask) -> Created:
        """See `StateStore.create_task`."""
        if new.idempotency_key is not None and (known := self._known(new)) is not None:
            return Created(known, replayed=True)
        self._join_workflow(new)
        return Created(self._begin(new, [submitted()]), replayed=False)

    def _begin(self, new: NewTask, drafts: Sequence[Draft]) -> TaskRecord:
        task = dataclasses.replace(new.task, last_seq=len(drafts))
        self._insert("task", rows.encode({name: getattr(task, name) for name in COLUMNS}))
        self._insert("task_payload", {"task_id": task.task_id, "input": new.input})
        if new.files is not None and not files.give(self._db, new.files, task.task_id):
            raise GatewayError("unavailable", "The files that came with it are gone; send them again.")
        self._add_events(task.task_id, drafts, after_seq=0)
        self._changed.append(Changed(task.task_id, task.subject, queued=True))
        return task

    def _known(self, new: NewTask) -> TaskRecord | None:
        subject, key = new.task.subject, new.idempotency_key
        oldest = self._now_ms - KEY_LIFETIME_MS
        expired = "DELETE FROM idempotency WHERE subject = ? AND key = ? AND created_at < ?"
        self._db.execute(expired, (subject, key, oldest))
        found = self._db.execute(
            "SELECT task_id, fingerprint FROM idempotency WHERE subject = ? AND key = ?", (subject, key)
        ).fetchone()
        if found is None:
            values = (subject, key, new.task.task_id, new.fingerprint, self._now_ms)
            self._db.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)", values)
            return None
        if found[1] != new.fingerprint:
            raise GatewayError("idempotency_conflict")
        return rows.get_task(self._db, found[0])

    def _join_workflow(self, new: NewTask) -> None:
        task = new.task
        if not new.names_workflow:
            fields = {name: getattr(task, name) for name in ("workflow_id", "subject", "session_id")}
            begun = {"status": "active", "created_at": self._now_ms, "updated_at": self._now_ms}
            self._insert("workflow", fields | begun)
            return
        joined = self._db.execute(
            "UPDATE workflow SET status = 'active', version = version + 1, updated_at = ?"
            " WHERE workflow_id = ? AND subject = ?",
            (self._now_ms, task.workflow_id, task.subject),
        )
        if joined.rowcount == 0:
            raise GatewayError("workflow_not_found")

    # --- changes --------------------------------------------------------------------------------------

    def change_task(self, task_id: str, decide: Decide, fence: Fence | None) -> TaskRecord:
        """See `StateStore.change_task`."""
        task = rows.get_task(self._db, task_id)
        if task is None:
            raise GatewayError("task_not_found")
        if fence is not None and (task.owner, task.epoch, task.last_seq) != (
            fence.owner,
            fence.epoch,
            fence.last_seq,
        ):
            raise LeaseLostError(task_id)
        change = decide(task)
        if not change.fields and not change.drafts:
            return task
        return self._apply(task, change, ring=fence is None)

    def _apply(self, task: TaskRecord, change: Change, *, ring: bool) -> TaskRecord:
        after = dataclasses.replace(
            task,
            **change.fields,
            last_seq=task.last_seq + len(change.drafts),
            updated_at=self._now_ms,
        )
        self._update(
            after.task_id, dict(change.fields) | {"last_seq": after.last_seq, "updated_at": self._now_ms}
        )
        self._add_events(task.task_id, change.drafts, after_seq=task.last_seq)
        if change.checkpoint is not None:
            self._keep(after, change.checkpoint)
            workflows.note(self._db, after.workflow_id, change.checkpoint, now_ms=self._now_ms)
        if change.outcome is not None:
            self._end(after, change.outcome)
        queued = after.status is TaskStatus.PENDING and after.desire is Desire.RUN
        self._changed.append(Changed(task.task_id, task.subject, queued, after.owner if ring else None))
        return after

    def _keep(self, task: TaskRecord, new: NewCheckpoint) -> None:
        place = (task.workflow_id, task.task_id, task.last_seq)
        checkpoints.add(self._db, place, new, now_ms=self._now_ms)

    def _end(self, task: TaskRecord, outcome: Outcome) -> None:
        self._db.execute(
            "UPDATE task_payload SET result = ?, error = ? WHERE task_id = ?",
            (_json(outcome.result), _json(outcome.error), task.task_id),
        )
        # The workflow takes the status of its last task, once none of them goes on.
        self._db.execute(
            "UPDATE workflow SET status = ?, version = version + 1, updated_at = ?"
            " WHERE workflow_id = ? AND NOT EXISTS"
            " (SELECT 1 FROM task WHERE workflow_id = workflow.workflow_id"
            f" AND status NOT IN ({', '.join('?' * len(ENDED))}))",
            (task.status, self._now_ms, task.workflow_id, *sorted(ENDED)),
        )

    def add_input(self, task_id: str, new: NewInput, decide: Decide) -> TaskRecord:
        """See `StateStore.add_input`."""
        task = rows.get_task(self._db, task_id)
        if task is None:
            raise GatewayError("task_not_found")
        if new.key is not None and self._has_input(task_id, new.key):
            return task
        after = self._apply(task, decide(task), ring=True)
        fields = {"task_id": task_id, "n": after.inputs, "key": new.key, "data": new.data, "eof": new.eof}
        self._insert("task_input", fields)
        return after

    def _has_input(self, task_id: str, key: str) -> bool:
        sql = "SELECT 1 FROM task_input WHERE task_id = ? AND key = ?"
        return self._db.execute(sql, (task_id, key)).fetchone() is not None

    def delete_some(self, task_id: str, check: Callable[[TaskRecord], None]) -> bool:
        """Take a part of a task, unless `check` raises; whether there is more of it. See `StateStore.delete_task`."""
        task = rows.get_task(self._db, task_id)
        if task is None:
            raise GatewayError("task_not_found")
        check(task)
        if not retention.forget(self._db, task_id, task.first_seq, task.last_seq):
            return True
        self._changed.append(Changed(task_id, task.subject, removed=True))
        return False

    def retain(self, rule: Retention) -> retention.Step | None:
        """Do the next thing that `rule` asks for; None where there is none."""
        done = retention.step(self._db, rule)
        if done is not None and done.forgotten is not None:
            self._changed.append(Changed(*done.forgotten, removed=True))
        return done

    def append(self, fence: Fence, what: Append) -> Fence:
        """See `StateStore.append`."""
        last_seq = fence.last_seq + len(what.drafts)
        fields = dict(what.fields) | {"last_seq": last_seq, "updated_at": self._now_ms}
        guard = "owner = ? AND epoch = ? AND last_seq = ?"
        values = (fence.owner, fence.epoch, fence.last_seq)
        if self._update(fence.task_id, fields, guard, values) == 0:
            raise LeaseLostError(fence.task_id)
        self._add_events(fence.task_id, what.drafts, after_seq=fence.last_seq)
        self._changed.append(Changed(fence.task_id, fence.subject))
        return dataclasses.replace(fence, last_seq=last_seq)

    # --- workflows ------------------------------------------------------------------------------------

    def recover_workflow(self, new: Recovery) -> tuple[WorkflowRecord, TaskRecord]:
        """See `StateStore.recover_workflow`."""
        after = workflows.recover(self._db, new, now_ms=self._now_ms)
        task = self._begin(new.task, [submitted(), told_of(new.checkpoint)])
        self._keep(task, new.checkpoint)
        return after, task

    # --- files ----------------------------------------------------------------------------------------

    def add_files(self, set_id: str, batch: Batch, fence: Fence | None) -> None:
        """See `StateStore.add_files`."""
        files.add(self._db, set_id, batch, now_ms=self._now_ms)
        if fence is not None:
            files.hold(self._db, set_id, fence)
            if batch.fields:
                self._update(fence.task_id, batch.fields)

    def drop_some_files(self, set_id: str) -> bool:
        """Drop a part of a set that is nobody's; whether there is more of it."""
        return files.drop_some(self._db, set_id)

    # --- statements -----------------------------------------------------------------------------------

    def _insert(self, table: str, fields: Mapping[str, Any]) -> None:
        marks = ", ".join("?" * len(fields))
        self._db.execute(
            f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({marks})", tuple(fields.values())
        )

    def _update(
        self, task_id: str, fields: Mapping[str, Any], guard: str = "TRUE", values: Sequence[Any] = ()
    ) -> int:
        columns = rows.encode(fields)
        sets = ", ".join(f"{name} = ?" for name in columns)
        sql = f"UPDATE task SET {sets} WHERE task_id = ? AND {guard}"
        return self._db.execute(sql, (*columns.values(), task_id, *values)).rowcount

    def _add_events(self, task_id: str, drafts: Sequence[Draft], *, after_seq: int) -> None:
        if not drafts:
            return
        events = number(task_id, drafts, after_seq=after_seq, now_ms=self._now_ms)
        self._db.executemany(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?)",
            [(task_id, event.seq, event.kind, event.frame, event.final) for event in events],
        )
        self._events.append(TaskEvents(task_id, events))


def _json(value: Any) -> bytes | None:
    return None if value is None else orjson.dumps(value)
