"""Tasks: their states, what moves them, and their rows.

Theory. A task has two fields where most systems have one. `status` is what is true; `desire` is what was
asked for, and differs from `status` until it has taken effect. Asking is durable and needs no owner: whoever
owns the task next obeys. Exactly one instance owns a running task (`owner`, `epoch`); a claim raises `epoch`,
so that every write of an earlier owner fails.

`TRANSITIONS` is the whole machine: everything that changes a status goes through `step`, and a signal that
the table does not allow raises and changes nothing. What each move writes is decided in `task_changes`, what
people and policies wish in `wishes`.
"""

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway import trace
from gateway.errors import GatewayError
from gateway.events import TaskEvents


class TaskStatus(StrEnum):
    """What is true of a task."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


Wished = tuple[str, int, dict[str, Any] | None]
"""All that is wanted of a task: its `Desire`, how many inputs it was sent, its terminal's size."""
TO_RUN: Final[Wished] = ("run", 0, None)
"""What is wanted of almost all."""


class Desire(StrEnum):
    """What was asked for."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class Signal(StrEnum):
    """What can happen to a task."""

    CLAIM = "claim"
    PAUSE = "pause"
    RESUME = "resume"
    REQUEUE = "requeue"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


TRANSITIONS: Final[Mapping[TaskStatus, Mapping[Signal, TaskStatus]]] = {
    TaskStatus.PENDING: {
        Signal.CLAIM: TaskStatus.RUNNING,
        Signal.PAUSE: TaskStatus.PAUSED,
        Signal.FAIL: TaskStatus.FAILED,
        Signal.CANCEL: TaskStatus.CANCELLED,
    },
    TaskStatus.RUNNING: {
        Signal.REQUEUE: TaskStatus.PENDING,
        Signal.PAUSE: TaskStatus.PAUSED,
        Signal.COMPLETE: TaskStatus.COMPLETED,
        Signal.FAIL: TaskStatus.FAILED,
        Signal.CANCEL: TaskStatus.CANCELLED,
    },
    TaskStatus.PAUSED: {
        Signal.RESUME: TaskStatus.RUNNING,
        Signal.REQUEUE: TaskStatus.PENDING,
        Signal.FAIL: TaskStatus.FAILED,
        Signal.CANCEL: TaskStatus.CANCELLED,
    },
    TaskStatus.COMPLETED: {},
    TaskStatus.FAILED: {},
    TaskStatus.CANCELLED: {},
}

ENDED: Final = frozenset(status for status, moves in TRANSITIONS.items() if not moves)


def step(current: TaskStatus, signal: Signal) -> TaskStatus:
    """The status that `signal` leads to. Raises `GatewayError` `invalid_state` where the table has none."""
    try:
        return TRANSITIONS[current][signal]
    except KeyError:
        raise GatewayError("invalid_state", f"A {current} task can't {signal}.", status=current) from None


class Task(BaseModel):
    """A task as the author of an agent sees it: its text, and the whole input that the text is part of."""

    model_config = ConfigDict(extra="allow")

    task_id: Annotated[str, BeforeValidator(str)] = Field(default_factory=lambda: str(uuid.uuid4()))
    task: str = ""
    input: dict[str, Any] = Field(default_factory=dict)
    traceparent: str | None = None
    """This attempt's place in its asker's trace (W3C Trace Context), to be handed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """A task's row: the sum of its log, without its input, result and error, which may be large.

    Times are ms since 1970 UTC. `ran_ms` is the running time of earlier spells, `running_since` begins the
    present one; `uncounted` is how many of its attempts don't count against `max_attempts`. A paused task has
    an owner while its sandbox is kept for it. `detached` says that the present wish is the detach policy's,
    `watched` that the policy still minds: somebody has watched since it last took effect. `watchers` are the instances
    at which somebody did, with None while somebody does, else when the last of them left. `inputs` and
    `input_bytes` are what was sent to it while it ran, `input_given_bytes` how much of that has come to where it goes.
    `traceparent` is what its asker named, if that was valid.
    `place` is the session that a takeover can go on with (`address`, `boot_id`, `session_id`), where there is one:
    `place_seq` numbers its last frame that is in the log, `place_file` is what it was giving back amid then.
    """

    task_id: str
    subject: str
    agent: str
    session_id: str
    workflow_id: str
    mode: str
    labels: dict[str, str]
    priority: int
    max_attempts: int
    timeout_s: int
    detach: str
    detach_after_s: int
    created_at: int
    updated_at: int
    status: TaskStatus = TaskStatus.PENDING
    desire: Desire = Desire.RUN
    attempt: int = 0
    uncounted: int = 0
    owner: str | None = None
    epoch: int = 0
    sandbox_id: str | None = None
    place: dict[str, str] | None = None
    place_seq: int = 0
    place_file: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    running_since: int | None = None
    ran_ms: int = 0
    not_before: int = 0
    progress: dict[str, Any] | None = None
    waiting_for: dict[str, Any] | None = None
    wish_by: str | None = None
    wish_reason: str | None = None
    detached: bool = False
    watched: bool = False
    watchers: dict[str, int | None] = field(default_factory=dict)
    takes_input: bool = False
    traceparent: str | None = None
    title: str | None = None
    inputs: int = 0
    input_bytes: int = 0
    input_given_bytes: int = 0
    tty: dict[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None
    first_seq: int = 1
    last_seq: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.status in ENDED

    @property
    def span(self) -> str:
        """What its present attempt hands on as `traceparent`."""
        return trace.of_attempt(self.task_id, self.traceparent, self.attempt)

    @property
    def minds(self) -> bool:
        """Whether it has a detach policy that can take effect."""
        return self.detach != "continue" and not self.ended

    def time_left_s(self, now_ms: int) -> float:
        """Running time that it has left."""
        return max(self.timeout_s - self.ran_ms_at(now_ms) / 1000, 0.001)

    def ran_ms_at(self, now_ms: int) -> int:
        """Running time up to `now_ms`, summed over attempts."""
        return self.ran_ms + (max(now_ms - self.running_since, 0) if self.running_since is not None else 0)


COLUMNS: Final = tuple(column.name for column in dataclasses.fields(TaskRecord))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended: a result or an error, never both."""

    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


@dataclass(slots=True)
class Fence:
    """The right to write to a running task: a write is refused unless all of it still holds. Not to be changed."""

    task_id: str
    subject: str
    owner: str
    epoch: int
    last_seq: int

    def holds(self, task: TaskRecord) -> bool:
        """Whether a write with it is still its owner's, and the next one."""
        return (self.owner, self.epoch, self.last_seq) == (task.owner, task.epoch, task.last_seq)


@dataclass(slots=True)
class Changed:
    """What a commit did to a task's row, as far as others need it: its state, and whether its owner should look.

    Not to be changed.
    """

    task_id: str
    subject: str
    queued: bool = False
    ring: str | None = None
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction of a store did: to be published once it is on disk, and not before."""

    events: Sequence[TaskEvents]
    changed: Sequence[Changed]
