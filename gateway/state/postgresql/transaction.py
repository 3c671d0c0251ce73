"""One PostgreSQL transaction: a write, and what it will have to publish."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.checkpoints import NewCheckpoint
from gateway.errors import GatewayError, LeaseLostError
from gateway.events import Draft, TaskEvents, number
from gateway.files import Batch
from gateway.sites import Site
from gateway.state.base import KEY_LIFETIME_MS, Created, Decide, NewInput, NewTask, Recovery, Retention
from gateway.state.postgresql import checkpoints, files, retention, rows, sites, workflows
from gateway.state.postgresql.pool import Connection
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
from gateway.workflow_record import DecideWorkflow, WorkflowRecord


class Transaction:
    """What is done between BEGIN and COMMIT."""

    def __init__(self, connection: Connection, now_ms: int) -> None:
        self._db = connection
        self._now_ms = now_ms
        self._events: list[TaskEvents] = []
        self._changed: list[Changed] = []

    def commit(self) -> Commit:
        """What to publish once this is on disk."""
        return Commit(tuple(self._events), tuple(self._changed))

    async def meta(self, key: str, fresh: bytes) -> bytes:
        """The value of `key`, which is `fresh` where there was none."""
        await self._db.execute("INSERT INTO meta VALUES ($1, $2) ON CONFLICT DO NOTHING", key, fresh)
        return bytes(await self._db.fetchval("SELECT value FROM meta WHERE key = $1", key))

    async def probe(self) -> None:
        """Write something."""
        sql = "INSERT INTO meta VALUES ('probe', $1) ON CONFLICT (key) DO UPDATE SET value = $1"
        await self._db.execute(sql, str(self._now_ms).encode())

    # --- submit ---------------------------------------------------------------------------------------

    async def create_task(self, new: NewTask) -> Created:
        """See `StateStore.create_task`."""
        if new.idempotency_key is not None and (known := await self._known(new)) is not None:
            return Created(known, replayed=True)
        await self._join_workflow(new)
        return Created(await self._begin(new, [submitted()]), replayed=False)

    async def _begin(self, new: NewTask, drafts: Sequence[Draft]) -> TaskRecord:
        task = dataclasses.replace(new.task, last_seq=len(drafts))
        await self._insert("task", rows.encode({name: getattr(task, name) for name in COLUMNS}))
        await self._insert("task_payload", {"task_id": task.task_id, "input": new.input})
        labels = [(task.task_id, key, value) for key, value in task.labels.items()]
        await self._db.executemany("INSERT INTO task_label VALUES ($1, $2, $3)", labels)
        if new.files is not None and not await files.give(self._db, new.files, task.task_id):
            raise GatewayError("unavailable", "The files that came with it are gone; send them again.")
        await self._add_events(task.task_id, drafts, after_seq=0)
        self._changed.append(Changed(task.task_id, task.subject, queued=True))
        return task

    async def _known(self, new: NewTask) -> TaskRecord | None:
        subject, key = new.task.subject, new.idempotency_key
        oldest = self._now_ms - KEY_LIFETIME_MS
        expired = "DELETE FROM idempotency WHERE subject = $1 AND key = $2 AND created_at < $3"
        await self._db.execute(expired, subject, key, oldest)
        # Who comes second waits here until the first is on disk, or has failed.
        taken = await self._db.execute(
            "INSERT INTO idempotency VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            *(subject, key, new.task.task_id, new.fingerprint, self._now_ms),
        )
        if _count(taken):
            return None
        found = await self._db.fetchrow(
            "SELECT task_id, fingerprint FROM idempotency WHERE subject = $1 AND key = $2", subject, key
        )
        if found is None or found["fingerprint"] != new.fingerprint:
            raise GatewayError("idempotency_conflict")
        return await rows.get_task(self._db, found["task_id"])

    async def _join_workflow(self, new: NewTask) -> None:
        task, now_ms = new.task, self._now_ms
        if not new.names_workflow:
            await self._db.execute(
                "INSERT INTO workflow (workflow_id, subject, session_id, status, created_at, updated_at)"
                " VALUES ($1, $2, $3, 'active', $4, $4)",
                *(task.workflow_id, task.subject, task.session_id, now_ms),
            )
            return
        joined = await self._db.execute(
            "UPDATE workflow SET status = 'active', version = version + 1, updated_at = $1"
            " WHERE workflow_id = $2 AND subject = $3",
            *(now_ms, task.workflow_id, task.subject),
        )
        if not _count(joined):
            raise GatewayError("workflow_not_found")

    # --- changes --------------------------------------------------------------------------------------

    async def change_task(self, task_id: str, decide: Decide, fence: Fence | None) -> TaskRecord:
        """See `StateStore.change_task`."""
        task = await self._locked(task_id)
        if fence is not None and (task.owner, task.epoch, task.last_seq) != (
            fence.owner,
            fence.epoch,
            fence.last_seq,
        ):
            raise LeaseLostError(task_id)
        change = decide(task)
        if not change.fields and not change.drafts:
            return task
        return await self._apply(task, change, ring=fence is None)

    async def _locked(self, task_id: str) -> TaskRecord:
        task = await rows.get_task(self._db, task_id, lock=True)
        if task is None:
            raise GatewayError("task_not_found")
        return task

    async def _apply(self, task: TaskRecord, change: Change, *, ring: bool) -> TaskRecord:
        after = dataclasses.replace(
            task,
            **change.fields,
            last_seq=task.last_seq + len(change.drafts),
            updated_at=self._now_ms,
        )
        await self._update(
            after.task_id, dict(change.fields) | {"last_seq": after.last_seq, "updated_at": self._now_ms}
        )
        await self._add_events(task.task_id, change.drafts, after_seq=task.last_seq)
        if change.checkpoint is not None:
            # Who writes a workflow's parts has locked its row before, so that two never wait for each other.
            await workflows.note(self._db, after.workflow_id, change.checkpoint, now_ms=self._now_ms)
            await self._keep(after, change.checkpoint)
        if change.outcome is not None:
            await self._end(after, change.outcome)
        queued = after.status is TaskStatus.PENDING and after.desire is Desire.RUN
        self._changed.append(Changed(task.task_id, task.subject, queued, after.owner if ring else None))
        return after

    async def _keep(self, task: TaskRecord, new: NewCheckpoint) -> None:
        place = (task.workflow_id, task.task_id, task.last_seq)
        await checkpoints.add(self._db, place, new, now_ms=self._now_ms)

    async def _end(self, task: TaskRecord, outcome: Outcome) -> None:
        await self._db.execute(
            "UPDATE task_payload SET result = $1, error = $2 WHERE task_id = $3",
            *(_json(outcome.result), _json(outcome.error), task.task_id),
        )
        # The workflow takes the status of its last task, once none of them goes on. Whoever ends another of them
        # at the same time waits here for our commit, and then sees it.
        await self._db.execute("SELECT 1 FROM workflow WHERE workflow_id = $1 FOR UPDATE", task.workflow_id)
        await self._db.execute(
            "UPDATE workflow SET status = $1, version = version + 1, updated_at = $2"
            " WHERE workflow_id = $3 AND NOT EXISTS"
            " (SELECT 1 FROM task WHERE task.workflow_id = $3 AND task.status <> ALL($4::text[]))",
            *(task.status, self._now_ms, task.workflow_id, sorted(ENDED)),
        )

    async def add_input(self, task_id: str, new: NewInput, decide: Decide) -> TaskRecord:
        """See `StateStore.add_input`."""
        task = await self._locked(task_id)
        if new.key is not None and await self._has_input(task_id, new.key):
            return task
        after = await self._apply(task, decide(task), ring=True)
        fields = {"task_id": task_id, "n": after.inputs, "key": new.key, "data": new.data, "eof": new.eof}
        await self._insert("task_input", fields)
        return after

    async def _has_input(self, task_id: str, key: str) -> bool:
        sql = "SELECT EXISTS (SELECT 1 FROM task_input WHERE task_id = $1 AND key = $2)"
        return bool(await self._db.fetchval(sql, task_id, key))

    async def delete_some(self, task_id: str, check: Callable[[TaskRecord], None]) -> bool:
        """Take a part of a task, unless `check` raises; whether there is more of it. See `StateStore.delete_task`."""
        task = await self._locked(task_id)
        check(task)
        if not await retention.forget(self._db, task_id, task.first_seq, task.last_seq):
            return True
        self._changed.append(Changed(task_id, task.subject, removed=True))
        return False

    async def retain(self, rule: Retention) -> retention.Step | None:
        """Do the next thing that `rule` asks for; None where there is none."""
        done = await retention.step(self._db, rule)
        if done is not None and done.forgotten is not None:
            self._changed.append(Changed(*done.forgotten, removed=True))
        return done

    # --- workflows ------------------------------------------------------------------------------------

    async def change_workflow(self, workflow_id: str, decide: DecideWorkflow) -> WorkflowRecord:
        """See `StateStore.change_workflow`."""
        return await workflows.change(self._db, workflow_id, decide, now_ms=self._now_ms)

    async def create_workflow(self, row: WorkflowRecord) -> None:
        """See `StateStore.create_workflow`."""
        await workflows.add(self._db, row)

    async def recover_workflow(self, new: Recovery) -> tuple[WorkflowRecord, TaskRecord]:
        """See `StateStore.recover_workflow`."""
        after = await workflows.recover(self._db, new, now_ms=self._now_ms)
        task = await self._begin(new.task, [submitted(), told_of(new.checkpoint)])
        await self._keep(task, new.checkpoint)
        return after, task

    # --- files and sites ------------------------------------------------------------------------------

    async def add_files(self, set_id: str, batch: Batch, fence: Fence | None) -> None:
        """See `StateStore.add_files`."""
        await files.add(self._db, set_id, batch, now_ms=self._now_ms)
        if fence is not None:
            await files.hold(self._db, set_id, fence)
            if batch.fields:
                await self._update(fence.task_id, batch.fields)

    async def drop_some_files(self, set_id: str) -> bool:
        """Drop a part of a set that is nobody's; whether there is more of it."""
        return await files.drop_some(self._db, set_id)

    async def add_site(self, site: Site) -> None:
        """See `StateStore.add_site`."""
        await sites.add(self._db, site)

    async def use_sites(self, used_at: Mapping[bytes, int]) -> None:
        """See `StateStore.use_sites`."""
        await sites.use(self._db, used_at)

    async def remove_site(self, label_hash: bytes) -> None:
        """See `StateStore.remove_site`."""
        await sites.remove(self._db, label_hash)

    # --- statements -----------------------------------------------------------------------------------

    async def _insert(self, table: str, fields: Mapping[str, Any]) -> None:
        marks = ", ".join(f"${n}" for n in range(1, len(fields) + 1))
        await self._db.execute(
            f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({marks})", *fields.values()
        )

    async def _update(self, task_id: str, fields: Mapping[str, Any]) -> None:
        columns = rows.encode(fields)
        sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, 2))
        await self._db.execute(f"UPDATE task SET {sets} WHERE task_id = $1", task_id, *columns.values())

    async def _add_events(self, task_id: str, drafts: Sequence[Draft], *, after_seq: int) -> None:
        if not drafts:
            return
        events = number(task_id, drafts, after_seq=after_seq, now_ms=self._now_ms)
        await self._db.executemany(
            "INSERT INTO event VALUES ($1, $2, $3, $4, $5)",
            [(task_id, event.seq, event.kind, event.frame, event.final) for event in events],
        )
        self._events.append(TaskEvents(task_id, events))


def _count(status: str) -> int:
    """How many rows a statement wrote, by PostgreSQL's answer to it."""
    return int(status.rpartition(" ")[2])


def _json(value: Any) -> bytes | None:
    return None if value is None else orjson.dumps(value)
