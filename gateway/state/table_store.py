"""The `StateStore` of a database that has `Tables`: each of its methods is one write, some of them, or one read."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.checkpoints import Checkpoint
from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.files import Batch, FileInfo, Stored
from gateway.sites import Site
from gateway.state.base import OnCommit, OnWritten
from gateway.state.group_commit import settle
from gateway.state.leases import Leases
from gateway.state.notes import Notes
from gateway.state.table_leases import TableLeases
from gateway.state.table_notes import TableNotes
from gateway.state.tables import Tables
from gateway.state.transaction import Transaction
from gateway.state.values import (
    Append,
    Appender,
    Created,
    Decide,
    NewInput,
    NewTask,
    Page,
    Recovery,
    Retained,
    Retention,
    Size,
    StoredInput,
    TaskQuery,
    Usage,
)
from gateway.tasks import Commit, Fence, Outcome, TaskRecord, Wished
from gateway.workflow_record import DecideWorkflow, WorkflowQuery, WorkflowRecord

Value = TypeVar("Value")
Write = Callable[[Transaction], Coroutine[Any, Any, Value]]
Read = Callable[[Tables], Coroutine[Any, Any, Value]]


@dataclass(slots=True)
class _Once:
    """An `Appender` that waits for its answer."""

    fence: Fence
    what: Append
    done: asyncio.Future[Fence]

    def take(self) -> tuple[Fence, Append]:
        return self.fence, self.what

    def told(self, result: Fence | Exception) -> None:
        settle(self.done, result)


class _Beside(ABC):
    """The parts of a store that are not about tasks: sites, and tokens that were used."""

    _clock: Clock

    @abstractmethod
    async def _write(self, write: Write[Value], *, task_id: str | None = None) -> Value:
        """What `write` gives, once its transaction is on disk and published; it may be called more than once.

        Those of one `task_id` are published in the order of their commits.
        """

    async def _renew(self, write: Write[Value]) -> Value:
        """As `_write`, for a lease that must be renewed however much else is asked of the database."""
        return await self._write(write)

    @abstractmethod
    async def _read(self, read: Read[Value]) -> Value:
        """What `read` gives of one moment."""

    async def spend(self, token_id: str, expires_ms: int) -> bool:
        """See `StateStore.spend`."""
        now_ms = self._clock.now_ms()
        return await self._write(lambda tx: tx.tables.spend(token_id, expires_ms, now_ms))

    # --- sites ----------------------------------------------------------------------------------------

    async def add_site(self, site: Site) -> None:
        """See `StateStore.add_site`."""
        await self._write(lambda tx: tx.tables.add_site(site))

    async def find_site(self, label_hash: bytes) -> Site | None:
        """See `StateStore.find_site`."""
        return await self._read(lambda tables: tables.find_site(label_hash))

    async def use_sites(self, used_at: Mapping[bytes, int]) -> None:
        """See `StateStore.use_sites`."""
        await self._write(lambda tx: tx.tables.use_sites(used_at))

    async def sites_over(self, before_ms: int, *, limit: int) -> list[Site]:
        """See `StateStore.sites_over`."""
        return await self._read(lambda tables: tables.sites_over(before_ms, limit))

    async def remove_site(self, label_hash: bytes) -> None:
        """See `StateStore.remove_site`."""
        await self._write(lambda tx: tx.tables.remove_site(label_hash))


class TableStore(_Beside):
    """A subclass says how its database is opened, and how a transaction and a read are run."""

    def __init__(self, clock: Clock) -> None:
        self.on_commit: OnCommit = lambda _commit: None
        self.on_written: OnWritten = lambda _seconds, _is_done: None
        self._clock = clock
        self.leases: Leases = TableLeases(self._write, self._read, clock, renew=self._renew)
        self.notes: Notes = TableNotes(self._write, self._read)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @abstractmethod
    async def open(self) -> None:
        """See `StateStore.open`."""

    @abstractmethod
    async def aclose(self) -> None:
        """See `StateStore.aclose`."""

    def _committed(self, commit: Commit) -> None:
        self.on_commit(commit)

    async def _timed(self, transaction: Awaitable[Value]) -> Value:
        """What a transaction gives; see `_took`."""
        now = asyncio.get_running_loop().time
        began = now()
        try:
            value = await transaction
        except StoreUnavailableError as error:
            self._took(now() - began, error)
            raise
        self._took(now() - began, None)
        return value

    def _took(self, seconds: float, done: object) -> None:
        """Tell how long a transaction took that came to `done`, unless it was a decision of ours that ended it."""
        if not isinstance(done, BaseException) or isinstance(done, StoreUnavailableError):
            self.on_written(seconds, not isinstance(done, StoreUnavailableError))

    # --- writes ---------------------------------------------------------------------------------------

    async def create_task(self, new: NewTask) -> Created:
        """See `StateStore.create_task`."""
        return await self._write(lambda tx: tx.create_task(new))

    async def change_task(self, task_id: str, decide: Decide, *, fence: Fence | None = None) -> TaskRecord:
        """See `StateStore.change_task`."""
        return await self._write(lambda tx: tx.change_task(task_id, decide, fence), task_id=task_id)

    async def delete_task(self, task_id: str, check: Callable[[TaskRecord], None]) -> None:
        """See `StateStore.delete_task`."""
        while await self._write(lambda tx: tx.delete_some(task_id, check), task_id=task_id):
            pass

    async def append(self, fence: Fence, what: Append) -> Fence:
        """See `StateStore.append`."""
        if what.checkpoint is not None:
            return await self._write(lambda tx: tx.append(fence, what), task_id=fence.task_id)
        done: asyncio.Future[Fence] = asyncio.get_running_loop().create_future()
        self.append_soon(_Once(fence, what, done))
        self.hurry()
        try:
            return await done
        finally:
            del done  # it has the error, which has this frame

    @abstractmethod
    def append_soon(self, appender: Appender) -> None:
        """See `StateStore.append_soon`."""

    @abstractmethod
    def hurry(self) -> None:
        """See `StateStore.hurry`."""

    async def add_input(self, task_id: str, new: NewInput, decide: Decide) -> TaskRecord:
        """See `StateStore.add_input`."""
        return await self._write(lambda tx: tx.add_input(task_id, new, decide), task_id=task_id)

    async def create_workflow(self, row: WorkflowRecord) -> None:
        """See `StateStore.create_workflow`."""
        await self._write(lambda tx: tx.tables.add_workflow(row))

    async def change_workflow(self, workflow_id: str, decide: DecideWorkflow) -> WorkflowRecord:
        """See `StateStore.change_workflow`."""
        return await self._write(lambda tx: tx.change_workflow(workflow_id, decide))

    async def recover_workflow(self, recovery: Recovery) -> tuple[WorkflowRecord, TaskRecord]:
        """See `StateStore.recover_workflow`."""
        return await self._write(lambda tx: tx.recover_workflow(recovery))

    async def check(self) -> None:
        """See `StateStore.check`."""
        await self._write(lambda tx: tx.probe())

    async def secret(self) -> bytes:
        """See `StateStore.secret`."""
        fresh = self._clock.rng.getrandbits(256).to_bytes(32, "big")
        return await self._write(lambda tx: tx.tables.take_meta("secret", fresh))

    async def retain(self, rule: Retention) -> Retained:
        """See `StateStore.retain`."""
        trimmed = forgotten = 0
        while (done := await self._write(lambda tx: tx.retain(rule))) is not None:
            trimmed += done.trimmed
            forgotten += done.forgotten is not None
        return Retained(trimmed, forgotten)

    # --- reads ----------------------------------------------------------------------------------------

    async def get_task(self, task_id: str) -> TaskRecord | None:
        """See `StateStore.get_task`."""
        return await self._read(lambda tables: tables.get_task(task_id))

    async def get_outcome(self, task_id: str) -> Outcome:
        """See `StateStore.get_outcome`."""
        return await self._read(lambda tables: tables.get_outcome(task_id))

    async def get_input(self, task_id: str) -> bytes:
        """See `StateStore.get_input`."""
        return await self._read(lambda tables: tables.get_input(task_id))

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint | None:
        """See `StateStore.get_checkpoint`."""
        return await self._read(lambda tables: tables.get_checkpoint(checkpoint_id))

    async def newest_checkpoint(self, task: TaskRecord) -> Checkpoint | None:
        """See `StateStore.newest_checkpoint`."""
        return await self._read(lambda tables: tables.newest_checkpoint(task))

    async def last_checkpoint(self, workflow_id: str, step_name: str | None = None) -> Checkpoint | None:
        """See `StateStore.last_checkpoint`."""
        return await self._read(lambda tables: tables.last_checkpoint(workflow_id, step_name))

    async def list_checkpoints(
        self, workflow_id: str, *, after: str = "", limit: int, newest: bool = False
    ) -> list[Checkpoint]:
        """See `StateStore.list_checkpoints`."""
        found = await self._read(
            lambda tables: tables.list_checkpoints(workflow_id, after, limit, newest=newest)
        )
        return found[::-1] if newest else found

    async def get_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """See `StateStore.get_workflow`."""
        return await self._read(lambda tables: tables.get_workflow(workflow_id))

    async def list_workflows(self, query: WorkflowQuery) -> list[WorkflowRecord]:
        """See `StateStore.list_workflows`."""
        return await self._read(lambda tables: tables.list_workflows(query))

    async def list_tasks(self, query: TaskQuery) -> list[TaskRecord]:
        """See `StateStore.list_tasks`."""
        return await self._read(lambda tables: tables.list_tasks(query))

    async def read_events(self, task_id: str, after_seq: int, *, max_events: int, max_bytes: int) -> Page:
        """See `StateStore.read_events`."""
        bounds = (max_events, max_bytes)
        return await self._read(lambda tables: tables.read_events(task_id, after_seq, bounds))

    async def read_input(self, task_id: str, after_n: int, *, max_bytes: int) -> list[StoredInput]:
        """See `StateStore.read_input`."""
        return await self._read(lambda tables: tables.read_input(task_id, after_n, max_bytes))

    async def wished(self, owner: str) -> dict[str, Wished]:
        """See `StateStore.wished`."""
        return await self._read(lambda tables: tables.wished(owner))

    async def pending_tasks(self, *, per_subject: int) -> list[TaskRecord]:
        """See `StateStore.pending_tasks`."""
        return await self._read(lambda tables: tables.pending_tasks(per_subject))

    async def owned_tasks(self) -> list[TaskRecord]:
        """See `StateStore.owned_tasks`."""
        return await self._read(lambda tables: tables.owned_tasks())

    async def heads(self, task_ids: Collection[str]) -> dict[str, int]:
        """See `StateStore.heads`."""
        return await self._read(lambda tables: tables.heads(task_ids))

    async def watched_tasks(self) -> list[TaskRecord]:
        """See `StateStore.watched_tasks`."""
        return await self._read(lambda tables: tables.watched_tasks())

    async def usage(self, subject: str) -> Usage:
        """See `StateStore.usage`."""
        return await self._read(lambda tables: tables.usage(subject))

    async def size(self) -> Size:
        """See `StateStore.size`."""
        return await self._read(lambda tables: tables.size())

    # --- files ----------------------------------------------------------------------------------------

    async def add_files(self, set_id: str, batch: Batch, *, fence: Fence | None = None) -> None:
        """See `StateStore.add_files`."""
        await self._write(lambda tx: tx.add_files(set_id, batch, fence))

    async def drop_files(self, set_id: str) -> None:
        """See `StateStore.drop_files`."""
        while await self._write(lambda tx: tx.drop_some_files(set_id)):
            pass

    async def sweep_files(self, *, idle_s: float) -> None:
        """See `StateStore.sweep_files`."""
        before_ms = self._clock.now_ms() - round(idle_s * 1000)
        for set_id in await self._read(lambda tables: tables.nobodys_files(before_ms)):
            await self.drop_files(set_id)

    async def find_files(self, task_id: str, epoch: int = 0) -> str | None:
        """See `StateStore.find_files`."""
        return await self._read(lambda tables: tables.find_files(task_id, epoch))

    async def list_files(self, set_id: str, *, path: str | None = None) -> list[FileInfo]:
        """See `StateStore.list_files`."""
        return await self._read(lambda tables: tables.list_files(set_id, path))

    async def read_files(
        self, set_id: str, *, after: tuple[int, int] = (-1, 0), max_bytes: int
    ) -> list[Stored]:
        """See `StateStore.read_files`."""
        return await self._read(lambda tables: tables.read_files(set_id, after, max_bytes))

    async def read_piece(self, set_id: str, number: int, part: int) -> bytes | None:
        """See `StateStore.read_piece`."""
        return await self._read(lambda tables: tables.read_piece(set_id, number, part))
