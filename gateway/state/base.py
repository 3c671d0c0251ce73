"""What the gateway asks of a state store.

A store has three kinds of writes. `create_task` begins a task; `change_task` lets a pure decision look at the
row and say what to write; `append` is the owner's short way for events that change nothing else. Each is one
transaction: row, events and outcome together, and whoever asked is answered when it is on disk. What was
committed is handed to `on_commit`, on the event loop, before the asker is answered: persist, then publish.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.events import Draft, Event
from gateway.tasks import Change, Commit, Fence, Outcome, TaskRecord

Decide = Callable[[TaskRecord], Change]
OnCommit = Callable[[Commit], None]


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be: its row, its input as JSON, and by what a repeat of the same submit is known."""

    task: TaskRecord
    input: bytes
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    names_workflow: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """A task that exists, and whether it did before."""

    task: TaskRecord
    replayed: bool


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Which tasks to list, newest first: those that match every field that is not None, before `before`."""

    subject: str | None = None
    status: str | None = None
    agent: str | None = None
    session_id: str | None = None
    workflow_id: str | None = None
    label: tuple[str, str] | None = None
    task_ids: Collection[str] | None = None
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive events of a log; `complete` where the log has ended and nothing follows them.

    `at_end` where nothing followed them when they were read; a page that was cut may leave it False.
    """

    events: Sequence[Event] = ()
    at_end: bool = False
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """What an owner adds: events without numbers, and column values that go with them."""

    drafts: Sequence[Draft]
    fields: Mapping[str, Any] = field(default_factory=dict)


class StateStore(Protocol):
    """The port. Every method raises `StoreUnavailableError` where the store can't be reached or won't commit."""

    on_commit: OnCommit

    async def open(self) -> None:
        """Make the store ready, its schema brought up to date. A newer schema than ours is refused."""

    async def aclose(self) -> None:
        """Finish what was asked and let go."""

    async def secret(self) -> bytes:
        """32 random bytes, made once per store: what its instances sign with."""

    async def create_task(self, new: NewTask) -> Created:
        """Begin a task, or find the one that the same key began.

        Raises `GatewayError` `idempotency_conflict` or `workflow_not_found`.
        """

    async def change_task(self, task_id: str, decide: Decide, *, fence: Fence | None = None) -> TaskRecord:
        """Apply what `decide` says of the row; the row after it.

        `decide` may be called more than once. What it raises is raised here, and nothing is written. Raises
        `GatewayError` `task_not_found`, and `LeaseLostError` where `fence` no longer holds.
        """

    async def append(self, fence: Fence, what: Append) -> Fence:
        """Add the owner's events; the fence for its next write. Raises `LeaseLostError`."""

    async def get_task(self, task_id: str) -> TaskRecord | None:
        """The row, or None."""

    async def get_outcome(self, task_id: str) -> Outcome:
        """The task's result or error; neither where it has not ended."""

    async def get_input(self, task_id: str) -> bytes:
        """The task's input, as the JSON it was stored as."""

    async def list_tasks(self, query: TaskQuery) -> list[TaskRecord]:
        """At most `query.limit` rows, newest first."""

    async def read_events(self, task_id: str, after_seq: int, *, max_events: int, max_bytes: int) -> Page:
        """Events after `after_seq`: no more than either bound, but one at least where there is one."""

    async def pending_tasks(self, *, per_subject: int) -> list[TaskRecord]:
        """Tasks that wait to run: of each subject the first few by priority, then age."""

    async def owned_tasks(self) -> list[TaskRecord]:
        """Tasks that have an owner."""
