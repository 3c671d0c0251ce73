"""What a write does to a store's rows, whichever store it is: the fences, the numbers, what others hear of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.errors import GatewayError, LeaseLostError
from gateway.events import Draft, Event, TaskEvents, number
from gateway.files import Batch
from gateway.notes import Note
from gateway.state.checkpoint_columns import Place
from gateway.state.leases import DecideOwner
from gateway.state.retention import Step, forget, step
from gateway.state.tables import Ended, Tables
from gateway.state.values import (
    KEY_LIFETIME_MS,
    Append,
    Created,
    Decide,
    NewInput,
    NewTask,
    Recovery,
    Retention,
    StoredInput,
)
from gateway.task_changes import Change, submitted, told_of
from gateway.tasks import (
    Changed,
    Commit,
    Desire,
    Fence,
    Outcome,
    TaskRecord,
    TaskStatus,
)
from gateway.workflow_record import DecideWorkflow, WorkflowRecord


@dataclasses.dataclass(slots=True)
class Appended:
    """What an owner's append comes to, if its `fence` holds: the next fence, the events, and the row's new values.

    Not to be changed.
    """

    fence: Fence
    after: Fence
    events: Sequence[Event]
    fields: Mapping[str, Any]


def appended(fence: Fence, what: Append, *, now_ms: int) -> Appended:
    """What to write, and to answer. Raises what JSON can't say."""
    events = number(fence.task_id, what.drafts, after_seq=fence.last_seq, now_ms=now_ms)
    last_seq = fence.last_seq + len(events)
    fields = {**what.fields, "last_seq": last_seq, "updated_at": now_ms}
    # Takes half the time of `replace`.
    after = Fence(fence.task_id, fence.subject, fence.owner, fence.epoch, last_seq)
    return Appended(fence, after, events, fields)


class Transaction:
    """One write. What it raises undoes it; what it has to tell others, `commit` says once it is on disk.

    A task's row is locked before its workflow's, and that before the workflow's parts are written: so two never wait
    for each other.
    """

    def __init__(self, tables: Tables, now_ms: int) -> None:
        self.tables = tables
        self.now_ms = now_ms
        self._events: list[TaskEvents] = []
        self._changed: list[Changed] = []

    def commit(self) -> Commit:
        """What to publish once this is on disk."""
        return Commit(tuple(self._events), tuple(self._changed))

    async def probe(self, size: int = 0) -> None:
        """Write something of `size` bytes, in the place of what the last probe wrote."""
        await self.tables.put_meta("probe", self.now_ms.to_bytes(8, "big") + bytes(size))

    # --- submit ---------------------------------------------------------------------------------------

    async def create_task(self, new: NewTask) -> Created:
        """See `StateStore.create_task`."""
        if new.idempotency_key is not None and (known := await self._known(new)) is not None:
            return Created(known, replayed=True)
        await self._join_workflow(new)
        return Created(await self._begin(new, [submitted()]), replayed=False)

    async def _known(self, new: NewTask) -> TaskRecord | None:
        taken = await self.tables.take_key(new, now_ms=self.now_ms, oldest_ms=self.now_ms - KEY_LIFETIME_MS)
        if taken is None:
            return None
        task_id, fingerprint = taken
        if fingerprint != new.fingerprint:
            raise GatewayError("idempotency_conflict")
        if (task := await self.tables.get_task(task_id)) is None:
            raise GatewayError("task_not_found", "The task of this idempotency key has been deleted.")
        return task

    async def _join_workflow(self, new: NewTask) -> None:
        task, now_ms = new.task, self.now_ms
        if not new.names_workflow:
            fresh = WorkflowRecord(
                workflow_id=task.workflow_id,
                subject=task.subject,
                session_id=task.session_id,
                created_at=now_ms,
                updated_at=now_ms,
            )
            await self.tables.add_workflow(fresh, weighs=False)
        elif not await self.tables.join_workflow(task.workflow_id, task.subject, now_ms=now_ms):
            raise GatewayError("workflow_not_found")

    async def _begin(self, new: NewTask, drafts: Sequence[Draft]) -> TaskRecord:
        task = dataclasses.replace(new.task, last_seq=len(drafts))
        await self.tables.add_task(task, new.input)
        if new.files is not None and not await self.tables.give_files(new.files, task.task_id):
            raise GatewayError("unavailable", "The files that came with it are gone; send them again.")
        if new.files is not None:
            await self.tables.weigh(task.task_id)
        await self._add_events(task.task_id, drafts, after_seq=0)
        self._changed.append(Changed(task.task_id, task.subject, queued=True))
        return task

    # --- changes --------------------------------------------------------------------------------------

    async def change_task(self, task_id: str, decide: Decide, fence: Fence | None) -> TaskRecord:
        """See `StateStore.change_task`."""
        task = await self._locked(task_id)
        if fence is not None and not fence.holds(task):
            raise LeaseLostError(task_id)
        return await self._decided(task, decide(task), ring=fence is None)

    async def assign_task(self, task_id: str, instance: str, decide: DecideOwner) -> TaskRecord:
        """See `Leases.assign`."""
        task = await self._locked(task_id)
        standing = await self.tables.standing(task, instance, self.now_ms)
        return await self._decided(task, decide(task, standing), ring=True)

    async def _decided(self, task: TaskRecord, change: Change, *, ring: bool) -> TaskRecord:
        if not change.fields and not change.drafts:
            return task
        return await self._apply(task, change, ring=ring)

    async def _locked(self, task_id: str) -> TaskRecord:
        task = await self.tables.lock_task(task_id)
        if task is None:
            raise GatewayError("task_not_found")
        return task

    async def _apply(self, task: TaskRecord, change: Change, *, ring: bool) -> TaskRecord:
        moved = {"last_seq": task.last_seq + len(change.drafts), "updated_at": self.now_ms}
        fields = {**change.fields, **self._moments(task, change), **moved}
        after = dataclasses.replace(task, **fields)
        await self.tables.update_task(task.task_id, fields)
        await self._add_events(task.task_id, change.drafts, after_seq=task.last_seq)
        if after.owner not in {None, task.owner}:
            await self.tables.add_notes([_owned_note(after, former=task.owner, now_ms=self.now_ms)])
        if change.outcome is not None:
            await self._end(after, change.outcome)
        queued = after.status is TaskStatus.PENDING and after.desire is Desire.RUN
        self._changed.append(Changed(task.task_id, task.subject, queued, after.owner if ring else None))
        return after

    def _moments(self, task: TaskRecord, change: Change) -> dict[str, int]:
        """It began and ended when the event says so: who decided may have looked at a clock later, or at another."""
        told = {name: change.fields.get(name) for name in ("started_at", "ended_at")}
        return {name: self.now_ms for name, at in told.items() if at not in {None, getattr(task, name)}}

    async def _end(self, task: TaskRecord, outcome: Outcome) -> None:
        await self.tables.set_outcome(task.task_id, outcome)
        await self.tables.weigh(task.task_id)
        await self.tables.settle_workflow(task.workflow_id, task.status, now_ms=self.now_ms)

    async def add_input(self, task_id: str, new: NewInput, decide: Decide) -> TaskRecord:
        """See `StateStore.add_input`."""
        task = await self._locked(task_id)
        if new.key is not None and await self.tables.has_input(task_id, new.key):
            return task
        after = await self._apply(task, decide(task), ring=True)
        await self.tables.add_input(task_id, StoredInput(after.inputs, new.data, new.eof, new.key))
        return after

    async def append(self, fence: Fence, what: Append) -> Fence:
        """See `StateStore.append`."""
        wanted = appended(fence, what, now_ms=self.now_ms)
        if not await self.tables.move_task(fence, wanted.fields):
            raise LeaseLostError(fence.task_id)
        if wanted.events:
            await self.tables.add_events(fence.task_id, wanted.events)
            self._events.append(TaskEvents(fence.task_id, wanted.events))
        if what.checkpoint is not None:
            workflow_id, checkpoint = what.checkpoint
            place = (workflow_id, fence.task_id, wanted.after.last_seq)
            await self.tables.note_checkpoint(workflow_id, checkpoint, now_ms=self.now_ms)
            await self.tables.add_checkpoint(place, checkpoint, now_ms=self.now_ms)
        self._changed.append(Changed(fence.task_id, fence.subject))
        return wanted.after

    async def _add_events(self, task_id: str, drafts: Sequence[Draft], *, after_seq: int) -> None:
        if not drafts:
            return
        events = number(task_id, drafts, after_seq=after_seq, now_ms=self.now_ms)
        await self.tables.add_events(task_id, events)
        self._events.append(TaskEvents(task_id, events))

    # --- what goes ------------------------------------------------------------------------------------

    async def delete_some(self, task_id: str, check: Callable[[TaskRecord], None]) -> bool:
        """Take a part of a task, unless `check` raises; whether there is more of it. See `StateStore.delete_task`."""
        task = await self._locked(task_id)
        check(task)
        if not await forget(self.tables, Ended(task_id, task.subject, task.first_seq, task.last_seq)):
            return True
        self._changed.append(Changed(task_id, task.subject, removed=True))
        return False

    async def retain(self, rule: Retention) -> Step | None:
        """Do the next thing that `rule` asks for; None where there is none."""
        done = await step(self.tables, rule)
        if done is not None and done.forgotten is not None:
            self._changed.append(Changed(*done.forgotten, removed=True))
        return done

    # --- workflows ------------------------------------------------------------------------------------

    async def change_workflow(self, workflow_id: str, decide: DecideWorkflow) -> WorkflowRecord:
        """See `StateStore.change_workflow`."""
        before = await self._locked_workflow(workflow_id)
        wanted = decide(before)
        after = dataclasses.replace(
            before, **wanted.fields, version=before.version + 1, updated_at=self.now_ms
        )
        await self.tables.save_workflow(before, after)
        if wanted.checkpoint is not None:
            place = (workflow_id, "", after.version)
            await self.tables.add_checkpoint(place, wanted.checkpoint, now_ms=self.now_ms)
        return after

    async def recover_workflow(self, new: Recovery) -> tuple[WorkflowRecord, TaskRecord]:
        """See `StateStore.recover_workflow`."""
        before = await self._locked_workflow(new.workflow_id)
        after = dataclasses.replace(new.recover(before), updated_at=self.now_ms)
        if after.workflow_id != before.workflow_id:
            await self.tables.add_workflow(after)
        else:
            await self.tables.save_workflow(before, after)
        task = await self._begin(new.task, [submitted(), told_of(new.checkpoint)])
        await self.tables.add_checkpoint(_place(task), new.checkpoint, now_ms=self.now_ms)
        return after, task

    async def _locked_workflow(self, workflow_id: str) -> WorkflowRecord:
        row = await self.tables.lock_workflow(workflow_id)
        if row is None:
            raise GatewayError("workflow_not_found")
        return row

    # --- files ----------------------------------------------------------------------------------------

    async def add_files(self, set_id: str, batch: Batch, fence: Fence | None) -> None:
        """See `StateStore.add_files`."""
        await self.tables.add_files(set_id, batch, now_ms=self.now_ms)
        if fence is not None:
            await self.tables.hold_files(set_id, fence)
            if batch.fields:
                await self.tables.update_task(fence.task_id, batch.fields)

    async def drop_some_files(self, set_id: str) -> bool:
        """Drop a part of a set that is nobody's; whether there is more of it."""
        return await self.tables.drop_some_files(set_id)


def _place(task: TaskRecord) -> Place:
    """Where a checkpoint is kept that the task's last event tells of."""
    return task.workflow_id, task.task_id, task.last_seq


def _owned_note(task: TaskRecord, *, former: str | None, now_ms: int) -> Note:
    """Which instance has a task now, and in which sandbox: the row forgets that, and its log does not tell."""
    said = {"attempt": task.attempt, "sandbox_id": task.sandbox_id, "from": former}
    data = {name: value for name, value in said.items() if value is not None}
    what = "claimed" if former is None else "taken_over"
    note_id = f"{now_ms:014d}-{task.task_id}-{task.epoch:08d}"
    return Note(note_id, now_ms, task.owner or "", task.task_id, task.subject, what, data)
