"""What a database has to be able to do to be a store: rows in, rows out. It makes no decision of ours.

All methods are called within a transaction, or as a read of one moment. Those of a database whose calls wait for
themselves never suspend. What a method's docstring leaves open, the one of `StateStore` of the same name says.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.checkpoints import Checkpoint, NewCheckpoint
from gateway.events import Event
from gateway.files import Batch, FileInfo, Stored
from gateway.fleet import Fleet, Standing
from gateway.notes import Note
from gateway.sites import Site
from gateway.state.checkpoint_columns import Place
from gateway.state.leases import Schemas
from gateway.state.values import (
    NewTask,
    Page,
    Size,
    StoredInput,
    TaskQuery,
    Usage,
)
from gateway.tasks import Fence, Outcome, TaskRecord, Wished
from gateway.workflow_record import WorkflowQuery, WorkflowRecord


@dataclass(frozen=True, slots=True)
class Ended:
    """What retention has to know of a task."""

    task_id: str
    subject: str
    first_seq: int
    last_seq: int
    has_key: bool = False


class Tables(Protocol):
    """The rows of a store, over one connection."""

    # --- tasks ----------------------------------------------------------------------------------------

    async def get_task(self, task_id: str) -> TaskRecord | None:
        """The row, or None."""

    async def lock_task(self, task_id: str) -> TaskRecord | None:
        """The row, or None; nobody else changes it before the transaction ends."""

    async def get_outcome(self, task_id: str) -> Outcome:
        """The task's result or error."""

    async def get_input(self, task_id: str) -> bytes:
        """The task's input."""

    async def list_tasks(self, query: TaskQuery) -> list[TaskRecord]:
        """At most `query.limit` rows."""

    async def read_events(self, task_id: str, after_seq: int, bounds: tuple[int, int]) -> Page:
        """Events after `after_seq`; `bounds` are `max_events` and `max_bytes`."""

    async def read_input(self, task_id: str, after_n: int, max_bytes: int) -> list[StoredInput]:
        """What was sent after the `after_n`-th."""

    async def has_input(self, task_id: str, key: str) -> bool:
        """Whether that was sent."""

    async def heads(self, task_ids: Collection[str]) -> dict[str, int]:
        """The last seq of each."""

    async def wished(self, owner: str) -> dict[str, Wished]:
        """What is wanted of its tasks, where that is not `TO_RUN`."""

    async def pending_tasks(self, per_subject: int) -> list[TaskRecord]:
        """Of each subject that has tasks waiting the first few."""

    async def owned_tasks(self) -> list[TaskRecord]:
        """Tasks that have an owner."""

    async def watched_tasks(self) -> list[TaskRecord]:
        """Tasks whose detach policy minds who watches."""

    async def take_key(self, new: NewTask, *, now_ms: int, oldest_ms: int) -> tuple[str, bytes] | None:
        """Keep the key of a submit; where it is taken since `oldest_ms`, the task and fingerprint it stands for."""

    async def add_task(self, task: TaskRecord, data: bytes) -> None:
        """Begin a row, and keep the task's input, which the task weighs so far."""

    async def update_task(self, task_id: str, fields: Mapping[str, Any]) -> None:
        """Write some columns."""

    async def move_task(self, fence: Fence, fields: Mapping[str, Any]) -> bool:
        """Write some columns, unless `fence` doesn't hold; whether it does."""

    async def add_events(self, task_id: str, events: Sequence[Event]) -> None:
        """Write the next of a log."""

    async def weigh(self, task_id: str) -> None:
        """Note in its row what a task takes: its input, log, outcome, what was sent to it, and its files."""

    async def usage(self, subject: str) -> Usage:
        """What the subject has, by the rows of its tasks and workflows."""

    async def set_outcome(self, task_id: str, outcome: Outcome) -> None:
        """Keep a task's result or error."""

    async def add_input(self, task_id: str, sent: StoredInput) -> None:
        """Keep what was sent."""

    # --- workflows and checkpoints ----------------------------------------------------------------------

    async def get_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """The row with its data, or None."""

    async def lock_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """The row with its data, or None; nobody changes it, or begins a task in it, before the transaction ends."""

    async def list_workflows(self, query: WorkflowQuery) -> list[WorkflowRecord]:
        """At most `query.limit` rows."""

    async def add_workflow(self, row: WorkflowRecord, *, weighs: bool = True) -> None:
        """Keep a new one; whether it `weighs`, or came with a task that does."""

    async def save_workflow(self, before: WorkflowRecord, after: WorkflowRecord) -> None:
        """Put `after` in the place of `before`; it weighs from now on."""

    async def join_workflow(self, workflow_id: str, subject: str, *, now_ms: int) -> bool:
        """A task begins in it: it is active; whether there is such a one of that subject."""

    async def settle_workflow(self, workflow_id: str, status: str, *, now_ms: int) -> None:
        """A task in it has ended: unless another goes on, it takes that one's status."""

    async def note_checkpoint(self, workflow_id: str, new: NewCheckpoint, *, now_ms: int) -> None:
        """An agent has made a checkpoint: `workflow_columns.noted` is written, where there is the workflow."""

    async def add_checkpoint(self, place: Place, new: NewCheckpoint, *, now_ms: int) -> None:
        """Keep one, and those of its parts that the workflow has not yet."""

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint | None:
        """One with its data, or None."""

    async def newest_checkpoint(self, task: TaskRecord) -> Checkpoint | None:
        """The last that the task has made, or None."""

    async def last_checkpoint(self, workflow_id: str, step_name: str | None) -> Checkpoint | None:
        """The last of a workflow, or of a step of it, or None."""

    async def list_checkpoints(
        self, workflow_id: str, after: str, limit: int, *, newest: bool
    ) -> list[Checkpoint]:
        """Those behind the id `after`, from the first or from the `newest` on."""

    # --- files ----------------------------------------------------------------------------------------

    async def add_files(self, set_id: str, batch: Batch, *, now_ms: int) -> None:
        """Add to a set; done once more it changes nothing."""

    async def hold_files(self, set_id: str, fence: Fence) -> None:
        """Give a set that a run adds to its place, and let go of those of earlier runs. Raises `LeaseLostError`."""

    async def give_files(self, set_id: str, task_id: str) -> bool:
        """Make a set that was uploaded the task's; False where it is somebody's already, or gone."""

    async def drop_some_files(self, set_id: str) -> bool:
        """Drop a part of a set that is nobody's; whether there is more of it."""

    async def nobodys_files(self, before_ms: int) -> list[str]:
        """Sets that belong to no task, and were added to last before `before_ms`."""

    async def find_files(self, task_id: str, epoch: int) -> str | None:
        """The set that was uploaded for a task, or that its run of `epoch` gave back."""

    async def list_files(self, set_id: str, path: str | None) -> list[FileInfo]:
        """The files of a set that are there whole, or the one at `path`."""

    async def read_files(self, set_id: str, after: tuple[int, int], max_bytes: int) -> list[Stored]:
        """Pieces of whole files."""

    async def read_piece(self, set_id: str, number: int, part: int) -> bytes | None:
        """One piece of a file, or None."""

    # --- sites ----------------------------------------------------------------------------------------

    async def add_site(self, site: Site) -> None:
        """Remember what a task has put up."""

    async def find_site(self, label_hash: bytes) -> Site | None:
        """The site of that label, or None."""

    async def use_sites(self, used_at: Mapping[bytes, int]) -> None:
        """Somebody asked for these then."""

    async def sites_over(self, before_ms: int, limit: int) -> list[Site]:
        """Sites that nothing and nobody needs."""

    async def remove_site(self, label_hash: bytes) -> None:
        """Forget one."""

    # --- instances; a database with a clock of its own needs no `now_ms` -------------------------------

    async def begin_lease(
        self, instance: str, lease_ms: int, about: Mapping[str, Any], now_ms: int, /
    ) -> None:
        """Let it live for `lease_ms` from now, whatever was; what is over for `FORGET_INSTANCES_MS` goes."""

    async def renew_lease(
        self, instance: str, lease_ms: int, about: Mapping[str, Any], now_ms: int, /
    ) -> bool:
        """Let it live for `lease_ms` from now, if it lives."""

    async def end_lease(self, instance: str) -> None:
        """Forget an instance, and what it has told."""

    async def put_agents(self, instance: str, agents: Schemas) -> None:
        """Keep what an instance tells of its agents; what those have told that are not known goes."""

    async def agents(self, instance: str) -> Schemas:
        """What an instance has told of its agents, or nothing."""

    async def fleet(self, now_ms: int, /) -> Fleet:
        """The instances that are known, by their ids."""

    async def standing(self, task: TaskRecord, instance: str, now_ms: int, /) -> Standing:
        """How the instance stands to a task that is locked; nobody else is told of one of its subject meanwhile."""

    async def orphans(self, instance: str, grace_ms: int, now_ms: int, /) -> dict[str, str]:
        """Tasks and their owners: of the instance, and of those that are lost."""

    async def running_tasks(self) -> dict[str, int]:
        """How many tasks of each subject run."""

    # --- the flight recorder's notes, and the store itself -----------------------------------------------

    async def add_notes(self, notes: Sequence[Note]) -> None:
        """Keep those that are not there yet."""

    async def notes_about(self, about: str, limit: int) -> list[Note]:
        """The newest about a session or a task, oldest first."""

    async def notes_of_instances(self, since_ms: int, until_ms: int, limit: int) -> list[Note]:
        """The first about instances themselves, from then to then."""

    async def take_meta(self, key: str, fresh: bytes) -> bytes:
        """What is kept as `key`, which is `fresh` where there was none."""

    async def put_meta(self, key: str, value: bytes) -> None:
        """Keep something, in the place of what is there."""

    async def spend(self, token_id: str, expires_ms: int, now_ms: int) -> bool:
        """Keep that a token was used, unless it was before; whether it was not. Those that expired before now go."""

    async def size(self) -> Size:
        """What the store takes on its disk."""

    # --- retention ------------------------------------------------------------------------------------

    async def oldest_untrimmed(self, ended_before_ms: int) -> Ended | None:
        """The first task that ended before then, and whose log is whole."""

    async def oldest_ended(self, ended_before_ms: int) -> Ended | None:
        """The first task that ended before then."""

    async def used_bytes(self) -> int | None:
        """What is not free of the store's `size`; None where it can't tell, and nothing goes for its size."""

    async def oldest_heavy(self, ended_before_ms: int) -> Ended | None:
        """The first task that ended before then, of which something can go for its size, and `has_key`.

        One that has a site, or nothing but a row that its key needs, is passed over.
        """

    async def trim(self, task: Ended) -> bool:
        """Take a part of a log and, with the last of it, what was sent to the task; whether its last event is left."""

    async def let_go_of_files(self, task_id: str) -> None:
        """Make all sets of a task nobody's, and last added to in 1970."""

    async def remove_task(self, task: Ended) -> None:
        """Take all rows of a task whose log is trimmed."""

    async def drop_some_keys(self, before_ms: int) -> bool:
        """Take some keys that were taken before then; whether there were any."""

    async def drop_some_workflows(self, before_ms: int) -> bool:
        """Take some workflows that nothing has changed since then, and that have no task; whether there were any."""

    async def drop_some_notes(self, before_ms: int, keep: int) -> bool:
        """Take some notes that are older than that, or than the newest `keep`; whether there were any."""
