"""What a state store is given, and what it gives."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.checkpoints import NewCheckpoint
from gateway.events import Draft, Event
from gateway.state.notes import MAX_NOTES
from gateway.task_changes import Change
from gateway.tasks import Fence, TaskRecord
from gateway.workflow_record import Recover

KEY_LIFETIME_MS: Final = 24 * 3600 * 1000
"""How long an idempotency key is remembered, by the contract."""

Decide = Callable[[TaskRecord], Change]


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be created: its row, its input as JSON and as a set of files, and what identifies a repeated submit."""

    task: TaskRecord
    input: bytes
    files: str | None = None
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    names_workflow: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """A task, and whether it had been created before (by the same idempotency key)."""

    task: TaskRecord
    replayed: bool


@dataclass(frozen=True, slots=True)
class Recovery:
    """A workflow that goes on from a checkpoint: `recover` gives its row, and a new task has a copy of that."""

    workflow_id: str
    recover: Recover
    checkpoint: NewCheckpoint
    task: NewTask


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

    `at_end` where nothing followed them when they were read; a page that was cut may leave it False. `gone` where
    there is no such task (any more).
    """

    events: Sequence[Event] = ()
    at_end: bool = False
    complete: bool = False
    gone: bool = False


@dataclass(slots=True)
class Append:
    """What an owner appends: events without numbers, and column values that go with them. Not to be changed."""

    drafts: Sequence[Draft]
    fields: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: tuple[str, NewCheckpoint] | None = None
    """One of the workflow of that id, which the last of `drafts` tells of."""


class Appender(Protocol):
    """An owner with something to append; asked for it when its transaction begins, so that all so far goes."""

    fence: Fence
    """Its right to write."""

    def take(self) -> tuple[Fence, Append] | None:
        """What is to be written, without a checkpoint; None where it has nothing any more. Must not raise."""

    def told(self, result: Fence | Exception) -> None:
        """It is on disk, and this is the fence of the next one; or what undid it. Must not raise."""


@dataclass(frozen=True, slots=True)
class NewInput:
    """What is sent to a task while it runs: JSON, and the key that identifies a repeat."""

    data: bytes
    eof: bool = False
    key: str | None = None


@dataclass(frozen=True, slots=True)
class StoredInput:
    """What was sent to a task, as the `n`-th."""

    n: int
    data: bytes
    eof: bool = False
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of tasks that have ended; times are ms since 1970 UTC.

    Whole logs of those that ended since `logs_since_ms`; those that ended since `tasks_since_ms` at all, and
    workflows without any task that changed since; keys since `keys_since_ms`; of the flight recorder's notes the newest
    `max_notes` since `notes_since_ms`. Where the store uses more than `max_bytes` (0: no limit), those that ended
    before `settled_before_ms` go, too, oldest first, until it does not.
    """

    logs_since_ms: int
    tasks_since_ms: int = 0
    keys_since_ms: int = 0
    max_bytes: int = 0
    settled_before_ms: int = 0
    notes_since_ms: int = 0
    max_notes: int = MAX_NOTES


@dataclass(frozen=True, slots=True)
class Retained:
    """How many tasks' logs were trimmed to their last event, and how many tasks are gone."""

    trimmed: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes on the disk, and those of them that are free for what comes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a subject has in the store: tasks that wait to run, and bytes of those that don't run now."""

    queued: int
    stored_bytes: int
