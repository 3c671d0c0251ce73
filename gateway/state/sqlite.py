"""State in one SQLite file: WAL, synchronous=FULL, one writer with group commit, readers of their own.

"Durable" here means that SQLite has synced the write-ahead log before a commit returns
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import math
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Final, TypeVar

from gateway.checkpoints import Checkpoint
from gateway.clock import Clock
from gateway.files import Batch as FileBatch
from gateway.files import FileInfo, Stored
from gateway.sites import Site
from gateway.state import sqlite_checkpoints as checkpoints
from gateway.state import sqlite_files as files
from gateway.state import sqlite_retention as retention
from gateway.state import sqlite_rows as rows
from gateway.state import sqlite_sites as sites
from gateway.state import sqlite_workflows as workflows
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
from gateway.state.group_commit import GroupCommit
from gateway.state.group_read import GroupRead
from gateway.state.sqlite_tx import Transaction
from gateway.state.sqlite_writer import Write, Writer, connect, errors_translated
from gateway.state.threads import Threads
from gateway.tasks import Commit, Fence, Outcome, TaskRecord
from gateway.workflow_record import DecideWorkflow, WorkflowQuery, WorkflowRecord

PROBE_BYTES: Final = 512 << 10
"""What has to find room before the store is believed to take writes again: as much as the largest one writes."""

SPARE_BYTES: Final = 16 << 20
"""Of free pages that the file keeps: what is written next takes them."""
STEP_PAGES: Final = 128
"""Pages that are given back in one go: others wait for them no longer than for a batch of events."""

Value = TypeVar("Value")


class SqliteStore:
    """The `StateStore` in a file; `writer` must have one worker, `readers` any number."""

    def __init__(self, path: Path, *, clock: Clock, writer: Executor, readers: Executor) -> None:
        self.on_commit: OnCommit = lambda _commit: None
        self._path = path
        self._clock = clock
        self._writer = writer
        self._reads = GroupRead(readers)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writing = Writer(path, clock)
        self._threads = Threads()
        self._group: GroupCommit[Write] = GroupCommit(
            lambda writes: self._in(writer, lambda: self._writing.run(writes)), self._committed
        )

    def __repr__(self) -> str:
        return f"<SqliteStore {self._path}>"

    def _committed(self, commit: Commit) -> None:
        self.on_commit(commit)

    async def open(self) -> None:
        """Create or migrate the file. Raises `StoreUnavailableError`, also for a newer schema than ours."""
        await self._in(self._writer, self._writing.open)

    async def aclose(self) -> None:
        """Settle what was asked, then close every connection."""
        await self._group.drain()
        await self._reads.drain()
        await self._threads.settle()
        await self._in(self._writer, self._close_all)

    # --- writes ---------------------------------------------------------------------------------------

    async def create_task(self, new: NewTask) -> Created:
        """See `StateStore.create_task`."""
        return await self._write(lambda tx: tx.create_task(new))

    async def change_task(self, task_id: str, decide: Decide, *, fence: Fence | None = None) -> TaskRecord:
        """See `StateStore.change_task`."""
        return await self._write(lambda tx: tx.change_task(task_id, decide, fence))

    async def delete_task(self, task_id: str, check: Callable[[TaskRecord], None]) -> None:
        """See `StateStore.delete_task`."""
        while await self._write(lambda tx: tx.delete_some(task_id, check)):
            pass

    async def append(self, fence: Fence, what: Append) -> Fence:
        """See `StateStore.append`."""
        return await self._write(lambda tx: tx.append(fence, what))

    async def add_input(self, task_id: str, new: NewInput, decide: Decide) -> TaskRecord:
        """See `StateStore.add_input`."""
        return await self._write(lambda tx: tx.add_input(task_id, new, decide))

    async def create_workflow(self, row: WorkflowRecord) -> None:
        """See `StateStore.create_workflow`."""
        await self._write(lambda tx: tx.do(lambda db, _now: workflows.add(db, row)))

    async def change_workflow(self, workflow_id: str, decide: DecideWorkflow) -> WorkflowRecord:
        """See `StateStore.change_workflow`."""
        return await self._write(lambda tx: tx.do(workflows.change(workflow_id, decide)))

    async def recover_workflow(self, recovery: Recovery) -> tuple[WorkflowRecord, TaskRecord]:
        """See `StateStore.recover_workflow`."""
        return await self._write(lambda tx: tx.recover_workflow(recovery))

    async def check(self) -> None:
        """See `StateStore.check`."""
        await self._write(lambda tx: tx.probe(PROBE_BYTES if self._writing.has_failed else 0))
        self._writing.has_failed = False

    async def secret(self) -> bytes:
        """See `StateStore.secret`."""
        fresh = self._clock.rng.getrandbits(256).to_bytes(32, "big")
        return await self._write(lambda tx: tx.meta("secret", fresh))

    async def _write(self, write: Callable[[Transaction], Value]) -> Value:
        value: Value = await self._group.write(write)
        return value

    # --- reads ----------------------------------------------------------------------------------------

    async def get_task(self, task_id: str) -> TaskRecord | None:
        """See `StateStore.get_task`."""
        return await self._read(lambda db: rows.get_task(db, task_id))

    async def get_outcome(self, task_id: str) -> Outcome:
        """See `StateStore.get_outcome`."""
        return await self._read(lambda db: rows.get_outcome(db, task_id))

    async def get_input(self, task_id: str) -> bytes:
        """See `StateStore.get_input`."""
        found = await self._read(
            lambda db: db.execute("SELECT input FROM task_payload WHERE task_id = ?", (task_id,)).fetchone()
        )
        return bytes(found[0]) if found else b"{}"

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

    async def retain(self, rule: Retention) -> Retained:
        """See `StateStore.retain`."""
        trimmed = forgotten = 0
        while (done := await self._write(lambda tx: tx.retain(rule))) is not None:
            trimmed += done.trimmed
            forgotten += done.forgotten is not None
        await self._give_back()
        return Retained(trimmed, forgotten)

    async def _give_back(self) -> None:
        free, before = (await self.size()).free, math.inf
        while SPARE_BYTES < free < before:
            await self._in(self._writer, lambda: self._writing.give_back(STEP_PAGES))
            free, before = (await self.size()).free, free

    async def size(self) -> Size:
        """See `StateStore.size`."""
        return Size(*await self._read(retention.sizes))

    # --- files ----------------------------------------------------------------------------------------

    async def add_files(self, set_id: str, batch: FileBatch, *, fence: Fence | None = None) -> None:
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
        await self._write(lambda tx: tx.do(lambda db, _now: sites.add(db, site)))

    async def find_site(self, label_hash: bytes) -> Site | None:
        """See `StateStore.find_site`."""
        return await self._read(lambda db: sites.find(db, label_hash))

    async def use_sites(self, used_at: Mapping[bytes, int]) -> None:
        """See `StateStore.use_sites`."""
        await self._write(lambda tx: tx.do(lambda db, _now: sites.use(db, used_at)))

    async def sites_over(self, before_ms: int, *, limit: int) -> list[Site]:
        """See `StateStore.sites_over`."""
        return await self._read(lambda db: sites.over(db, before_ms, limit))

    async def remove_site(self, label_hash: bytes) -> None:
        """See `StateStore.remove_site`."""
        await self._write(lambda tx: tx.do(lambda db, _now: sites.remove(db, label_hash)))

    async def _read(self, query: Callable[[sqlite3.Connection], Value]) -> Value:
        return await self._reads.read(errors_translated()(lambda: query(self._reader())))

    # --- on the executors' threads --------------------------------------------------------------------

    async def _in(self, executor: Executor, call: Callable[[], Value]) -> Value:
        return await self._threads.run(executor, errors_translated()(call))

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "reader", None)
        if connection is None:
            connection = self._local.reader = connect(self._path)
            self._connections.append(connection)
            connection.execute("PRAGMA query_only = ON")
            connection.create_function("has_label", 3, rows.has_label, deterministic=True)
        return connection

    def _close_all(self) -> None:
        while self._connections:
            self._connections.pop().close()
        self._writing.close()
