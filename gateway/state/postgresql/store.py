"""State in PostgreSQL: transactions with `synchronous_commit=on`, one statement for the appends of many tasks.

"Durable" here means that the server has flushed the transaction's write-ahead log before it answers
(https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar
from weakref import WeakValueDictionary

from gateway.checkpoints import Checkpoint
from gateway.clock import Clock
from gateway.files import Batch, FileInfo, Stored
from gateway.sites import Site
from gateway.state.base import (
    Append,
    Created,
    Decide,
    NewInput,
    NewTask,
    OnCommit,
    Page,
    Recovery,
    Retained,
    Retention,
    Size,
    StoredInput,
    TaskQuery,
)
from gateway.state.group_commit import tell
from gateway.state.postgresql import checkpoints, files, rows, sites, workflows
from gateway.state.postgresql.appends import Appends
from gateway.state.postgresql.pool import Connection, Database
from gateway.state.postgresql.transaction import Transaction
from gateway.tasks import Commit, Fence, Outcome, TaskRecord
from gateway.workflow_record import DecideWorkflow, WorkflowQuery, WorkflowRecord

Value = TypeVar("Value")
Write = Callable[[Transaction], Awaitable[Value]]


class PostgresqlStore:
    """The `StateStore` in the database that `dsn` names, over at most `connections`."""

    def __init__(self, dsn: str, *, clock: Clock, connections: int) -> None:
        self.on_commit: OnCommit = lambda _commit: None
        self._clock = clock
        self._database = Database(dsn, connections=connections)
        self._appends = Appends(self._database, clock, self._committed)
        # A task's writes are made one after another, so that its events are published in the order of their numbers.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return "<PostgresqlStore>"

    def _committed(self, commit: Commit) -> None:
        self.on_commit(commit)

    async def open(self) -> None:
        """Connect, create or migrate the schema. Raises `StoreUnavailableError`, also for a newer schema than ours."""
        await self._database.open()

    async def aclose(self) -> None:
        """Settle what was asked, then close every connection."""
        await self._database.aclose()

    # --- writes ---------------------------------------------------------------------------------------

    async def create_task(self, new: NewTask) -> Created:
        """See `StateStore.create_task`."""
        return await self._write(lambda tx: tx.create_task(new))

    async def change_task(self, task_id: str, decide: Decide, *, fence: Fence | None = None) -> TaskRecord:
        """See `StateStore.change_task`."""
        return await self._write_task(task_id, lambda tx: tx.change_task(task_id, decide, fence))

    async def delete_task(self, task_id: str, check: Callable[[TaskRecord], None]) -> None:
        """See `StateStore.delete_task`."""
        while await self._write_task(task_id, lambda tx: tx.delete_some(task_id, check)):
            pass

    async def append(self, fence: Fence, what: Append) -> Fence:
        """See `StateStore.append`."""

        async def appended() -> Fence:
            async with self._turn(fence.task_id):
                return await self._appends.append(fence, what)

        return await self._database.settled(appended())

    async def add_input(self, task_id: str, new: NewInput, decide: Decide) -> TaskRecord:
        """See `StateStore.add_input`."""
        return await self._write_task(task_id, lambda tx: tx.add_input(task_id, new, decide))

    async def create_workflow(self, row: WorkflowRecord) -> None:
        """See `StateStore.create_workflow`."""
        await self._write(lambda tx: tx.create_workflow(row))

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
        return await self._write(lambda tx: tx.meta("secret", fresh))

    async def retain(self, rule: Retention) -> Retained:
        """See `StateStore.retain`; of `max_bytes` nothing comes: what is free, the server keeps to itself."""
        trimmed = forgotten = 0
        while (done := await self._write(lambda tx: tx.retain(rule))) is not None:
            trimmed += done.trimmed
            forgotten += done.forgotten is not None
        return Retained(trimmed, forgotten)

    async def _write(self, write: Write[Value]) -> Value:
        return await self._database.settled(self._transacted(write))

    async def _write_task(self, task_id: str, write: Write[Value]) -> Value:
        async def in_turn() -> Value:
            async with self._turn(task_id):
                return await self._transacted(write)

        return await self._database.settled(in_turn())

    async def _transacted(self, write: Write[Value]) -> Value:
        async def work(connection: Connection) -> tuple[Value, Commit]:
            tx = Transaction(connection, self._clock.now_ms())
            return await write(tx), tx.commit()

        value, commit = await self._database.transact(work)
        tell(self._committed, commit)
        return value

    def _turn(self, task_id: str) -> asyncio.Lock:
        return self._turns.setdefault(task_id, asyncio.Lock())

    # --- reads ----------------------------------------------------------------------------------------

    async def get_task(self, task_id: str) -> TaskRecord | None:
        """See `StateStore.get_task`."""
        return await self._read(lambda db: rows.get_task(db, task_id))

    async def get_outcome(self, task_id: str) -> Outcome:
        """See `StateStore.get_outcome`."""
        return await self._read(lambda db: rows.get_outcome(db, task_id))

    async def get_input(self, task_id: str) -> bytes:
        """See `StateStore.get_input`."""
        query = "SELECT input FROM task_payload WHERE task_id = $1"
        found: bytes | None = await self._read(lambda db: db.fetchval(query, task_id))
        return b"{}" if found is None else found

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint | None:
        """See `StateStore.get_checkpoint`."""
        return await self._read(lambda db: checkpoints.get(db, checkpoint_id))

    async def newest_checkpoint(self, task: TaskRecord) -> Checkpoint | None:
        """See `StateStore.newest_checkpoint`."""
        return await self._read(lambda db: checkpoints.newest(db, task))

    async def last_checkpoint(self, workflow_id: str, step_name: str | None = None) -> Checkpoint | None:
        """See `StateStore.last_checkpoint`."""
        return await self._read(lambda db: checkpoints.last_of(db, workflow_id, step_name))

    async def list_checkpoints(self, workflow_id: str, *, after: str = "", limit: int) -> list[Checkpoint]:
        """See `StateStore.list_checkpoints`."""
        return await self._read(lambda db: checkpoints.listed(db, workflow_id, after, limit))

    async def get_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """See `StateStore.get_workflow`."""
        return await self._read(lambda db: workflows.get(db, workflow_id))

    async def list_workflows(self, query: WorkflowQuery) -> list[WorkflowRecord]:
        """See `StateStore.list_workflows`."""
        return await self._read(lambda db: workflows.find(db, query))

    async def list_tasks(self, query: TaskQuery) -> list[TaskRecord]:
        """See `StateStore.list_tasks`."""
        return await self._read(lambda db: rows.list_tasks(db, query))

    async def read_events(self, task_id: str, after_seq: int, *, max_events: int, max_bytes: int) -> Page:
        """See `StateStore.read_events`."""
        bounds = (max_events, max_bytes)
        return await self._read(lambda db: rows.read_events(db, task_id, after_seq, bounds))

    async def read_input(self, task_id: str, after_n: int, *, max_bytes: int) -> list[StoredInput]:
        """See `StateStore.read_input`."""
        return await self._read(lambda db: rows.read_input(db, task_id, after_n, max_bytes))

    async def pending_tasks(self, *, per_subject: int) -> list[TaskRecord]:
        """See `StateStore.pending_tasks`."""
        return await self._read(lambda db: rows.pending_tasks(db, per_subject))

    async def owned_tasks(self) -> list[TaskRecord]:
        """See `StateStore.owned_tasks`."""
        return await self._read(rows.owned_tasks)

    async def heads(self, task_ids: Collection[str]) -> dict[str, int]:
        """See `StateStore.heads`."""
        return await self._read(lambda db: rows.heads(db, task_ids))

    async def watched_tasks(self) -> list[TaskRecord]:
        """See `StateStore.watched_tasks`."""
        return await self._read(rows.watched_tasks)

    async def size(self) -> Size:
        """See `StateStore.size`."""
        return await self._read(rows.size)

    async def _read(self, query: Callable[[Connection], Awaitable[Value]]) -> Value:
        async with self._database.connection() as connection:
            return await query(connection)

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
        for set_id in await self._read(lambda db: files.nobodys(db, before_ms=before_ms)):
            await self.drop_files(set_id)

    async def find_files(self, task_id: str, epoch: int = 0) -> str | None:
        """See `StateStore.find_files`."""
        return await self._read(lambda db: files.find(db, task_id, epoch))

    async def list_files(self, set_id: str, *, path: str | None = None) -> list[FileInfo]:
        """See `StateStore.list_files`."""
        return await self._read(lambda db: files.infos(db, set_id, path))

    async def read_files(
        self, set_id: str, *, after: tuple[int, int] = (-1, 0), max_bytes: int
    ) -> list[Stored]:
        """See `StateStore.read_files`."""
        return await self._read(lambda db: files.read(db, set_id, after, max_bytes))

    async def read_piece(self, set_id: str, number: int, part: int) -> bytes | None:
        """See `StateStore.read_piece`."""
        return await self._read(lambda db: files.piece(db, set_id, number, part))

    # --- sites ----------------------------------------------------------------------------------------

    async def add_site(self, site: Site) -> None:
        """See `StateStore.add_site`."""
        await self._write(lambda tx: tx.add_site(site))

    async def find_site(self, label_hash: bytes) -> Site | None:
        """See `StateStore.find_site`."""
        return await self._read(lambda db: sites.find(db, label_hash))

    async def use_sites(self, used_at: Mapping[bytes, int]) -> None:
        """See `StateStore.use_sites`."""
        await self._write(lambda tx: tx.use_sites(used_at))

    async def sites_over(self, before_ms: int, *, limit: int) -> list[Site]:
        """See `StateStore.sites_over`."""
        return await self._read(lambda db: sites.over(db, before_ms, limit))

    async def remove_site(self, label_hash: bytes) -> None:
        """See `StateStore.remove_site`."""
        await self._write(lambda tx: tx.remove_site(label_hash))
