"""What the gateway asks of a state store.

A store has three kinds of writes. `create_task` begins a task; `change_task` lets a pure decision look at the
row and say what to write; `append` is the owner's short way for events that change nothing else. Each is one
transaction: row, events and outcome together, and whoever asked is answered when it is on disk. What was
committed is handed to `on_commit`, on the event loop, before the asker is answered: persist, then publish.

Files are kept in sets, which grow batch by batch. A set is nobody's until `create_task` names it, or it is a
run's that gives files back; what is nobody's can be dropped, and is swept.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from gateway.checkpoints import Checkpoint
from gateway.files import Batch, FileInfo, Stored
from gateway.sites import Site
from gateway.state.leases import Leases
from gateway.state.notes import Notes
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
from gateway.tasks import (
    Commit,
    Fence,
    Outcome,
    TaskRecord,
    Wished,
)
from gateway.workflow_record import DecideWorkflow, WorkflowQuery, WorkflowRecord

OnCommit = Callable[[Commit], None]
OnWritten = Callable[[float, bool], None]
"""(seconds that a transaction took, whether the store did it)"""


class StateStore(Protocol):
    """The port. Every method raises `StoreUnavailableError` where the store can't be reached or won't commit."""

    on_commit: OnCommit
    on_written: OnWritten
    """Called once a transaction, however many writes share it."""
    leases: Leases
    """The instances that share the store, and which of them owns what."""
    notes: Notes
    """What the flight recorder keeps."""

    async def open(self) -> None:
        """Make the store ready, its schema brought up to date. A newer schema than ours is refused."""

    async def aclose(self) -> None:
        """Finish what was asked and let go."""

    async def check(self) -> None:
        """Make something durable, as any write is. Once a write has failed, that is so much that others fit, too."""

    async def secret(self) -> bytes:
        """32 random bytes, made once per store: what its instances sign with."""

    async def spend(self, token_id: str, expires_ms: int) -> bool:
        """Use a token that is good for one use, until then; False where it was used before, on any instance."""

    async def create_task(self, new: NewTask) -> Created:
        """Begin a task, or find the one that the same key began.

        Raises `GatewayError`: `idempotency_conflict`, `workflow_not_found`, or `task_not_found` where the key's task
        has been deleted.
        """

    async def change_task(self, task_id: str, decide: Decide, *, fence: Fence | None = None) -> TaskRecord:
        """Apply what `decide` says of the row; the row after it.

        `decide` may be called more than once. What it raises is raised here, and nothing is written. Raises
        `GatewayError` `task_not_found`, and `LeaseLostError` where `fence` no longer holds.
        """

    async def delete_task(self, task_id: str, check: Callable[[TaskRecord], None]) -> None:
        """Forget a task, unless `check` raises: its row, log, input and files. The keys that name it stay.

        Raises what `check` raises, and `GatewayError` `task_not_found`.
        """

    async def append(self, fence: Fence, what: Append) -> Fence:
        """Add the owner's events; the fence for its next write. Raises `LeaseLostError`."""

    def append_soon(self, appender: Appender) -> None:
        """As `append`, for what `appender` has when its turn comes; it is told on the event loop what came of it.

        Its turn may come some milliseconds later, together with others'; `hurry` makes it come now.
        """

    def hurry(self) -> None:
        """Somebody waits for what is to be appended soon."""

    async def add_input(self, task_id: str, new: NewInput, decide: Decide) -> TaskRecord:
        """Keep what is sent to a task, with what `decide` says of the row; a repeat of its key changes nothing.

        Raises what `decide` raises, and `GatewayError` `task_not_found`.
        """

    async def read_input(self, task_id: str, after_n: int, *, max_bytes: int) -> list[StoredInput]:
        """What was sent after the `after_n`-th: no more than `max_bytes`, but one at least where there is one."""

    async def get_task(self, task_id: str) -> TaskRecord | None:
        """The row, or None."""

    async def get_outcome(self, task_id: str) -> Outcome:
        """The task's result or error; neither where it has not ended."""

    async def get_input(self, task_id: str) -> bytes:
        """The task's input, as the JSON it was stored as."""

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint | None:
        """A checkpoint with its data, or None."""

    async def newest_checkpoint(self, task: TaskRecord) -> Checkpoint | None:
        """The last that the task has made, or None."""

    async def last_checkpoint(self, workflow_id: str, step_name: str | None = None) -> Checkpoint | None:
        """The last of a workflow, or of a step of it, or None."""

    async def list_checkpoints(
        self, workflow_id: str, *, after: str = "", limit: int, newest: bool = False
    ) -> list[Checkpoint]:
        """The first behind the id `after`, or the `newest`; oldest first, without data over `SHOWN_BYTES`."""

    async def list_tasks(self, query: TaskQuery) -> list[TaskRecord]:
        """At most `query.limit` rows, newest first."""

    async def read_events(self, task_id: str, after_seq: int, *, max_events: int, max_bytes: int) -> Page:
        """Events after `after_seq`: no more than either bound, but one at least where there is one.

        The log of a task that is not there is complete.
        """

    async def heads(self, task_ids: Collection[str]) -> dict[str, int]:
        """The last seq of each of these tasks that is there."""

    async def wished(self, owner: str) -> dict[str, Wished]:
        """What is wanted of the tasks of `owner`, by their ids: but for those of which it is `TO_RUN`."""

    async def pending_tasks(self, *, per_subject: int) -> list[TaskRecord]:
        """Tasks that wait to run: of each subject the first few by priority, then age."""

    async def owned_tasks(self) -> list[TaskRecord]:
        """Tasks that have an owner."""

    async def watched_tasks(self) -> list[TaskRecord]:
        """Tasks whose detach policy minds who watches."""

    async def retain(self, rule: Retention) -> Retained:
        """Take what `rule` says is not kept any more, in steps so small that others can write in between.

        A log is trimmed down to its last event, which raises `first_seq`; what the task was sent goes with it. A
        task that goes whole is as if it had been deleted. Space that is free in the end goes back to the disk.
        """

    async def usage(self, subject: str) -> Usage:
        """What the subject has. A task counts with its input from its submit, with its log and files from its end."""

    async def size(self) -> Size:
        """What the store takes on its disk."""

    # --- workflows ------------------------------------------------------------------------------------

    async def create_workflow(self, row: WorkflowRecord) -> None:
        """Keep a workflow that has no task yet."""

    async def get_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """The row with its data, or None."""

    async def list_workflows(self, query: WorkflowQuery) -> list[WorkflowRecord]:
        """At most `query.limit` rows, newest first, without data that is more than `SHOWN_BYTES`."""

    async def change_workflow(self, workflow_id: str, decide: DecideWorkflow) -> WorkflowRecord:
        """Apply what `decide` says of the row; the row after it, one version on.

        `decide` may be called more than once. What it raises is raised here, and nothing is written. Raises
        `GatewayError` `workflow_not_found`.
        """

    async def recover_workflow(self, recovery: Recovery) -> tuple[WorkflowRecord, TaskRecord]:
        """Go on from a checkpoint; the row after it, of the workflow or its fork, and the new task.

        Raises what `recovery.recover` raises, and then nothing is written; and `GatewayError` `workflow_not_found`.
        """

    # --- files ----------------------------------------------------------------------------------------

    async def add_files(self, set_id: str, batch: Batch, *, fence: Fence | None = None) -> None:
        """Add to a set, which begins with its first batch.

        With `fence` the set is what that run gives back, in place of what earlier runs gave, and its task's columns
        take the batch's `fields`. Raises `LeaseLostError` where its owner or epoch no longer hold; its `last_seq`
        doesn't matter.
        """

    async def drop_files(self, set_id: str) -> None:
        """Drop a set that is nobody's; with any other nothing happens."""

    async def sweep_files(self, *, idle_s: float) -> None:
        """Drop what tasks and runs have let go of, and what came in for nobody and didn't grow for `idle_s`."""

    async def find_files(self, task_id: str, epoch: int = 0) -> str | None:
        """The set that was uploaded for a task, or that its run of `epoch` gave back."""

    async def list_files(self, set_id: str, *, path: str | None = None) -> list[FileInfo]:
        """The files of a set that are there whole, in the order they came, or the one at `path`."""

    async def read_files(
        self, set_id: str, *, after: tuple[int, int] = (-1, 0), max_bytes: int
    ) -> list[Stored]:
        """Pieces of whole files in order, behind the one at `after`: up to `max_bytes` and one piece more.

        `(n, -1)` is right before the file of number n.
        """

    async def read_piece(self, set_id: str, number: int, part: int) -> bytes | None:
        """One piece of a file, whole or not, or None."""

    # --- sites ----------------------------------------------------------------------------------------

    async def add_site(self, site: Site) -> None:
        """Remember what a task has put up."""

    async def find_site(self, label_hash: bytes) -> Site | None:
        """The site of that label, or None."""

    async def use_sites(self, used_at: Mapping[bytes, int]) -> None:
        """Somebody asked for these then; by label hash, in ms since 1970 UTC. An earlier time changes nothing."""

    async def sites_over(self, before_ms: int, *, limit: int) -> list[Site]:
        """Sites whose task is gone, or has ended before then, and for which nobody has asked since."""

    async def remove_site(self, label_hash: bytes) -> None:
        """Forget one; to remove it twice does nothing."""
