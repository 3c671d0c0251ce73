"""Tasks: their states, what moves them, and what each move writes.

Theory. A task has two fields where most systems have one. `status` is what is true; `desire` is what was
asked for, and differs from `status` until it has taken effect. Asking is durable and needs no owner: whoever
owns the task next obeys. Exactly one instance owns a running task (`owner`, `epoch`); a claim raises `epoch`,
so that every write of an earlier owner fails.

`TRANSITIONS` is the whole machine: everything that changes a status goes through `step`, and a signal that
the table does not allow raises and changes nothing. The functions below the table decide and do not act:
each takes a row and gives the `Change` (new column values and the events that tell of them), which a store
applies in one transaction. What people and policies wish is decided in `wishes`.
"""

import dataclasses
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway import trace
from gateway.checkpoints import NewCheckpoint
from gateway.errors import GatewayError
from gateway.events import Draft, TaskEvents, cut_text, fit_outcome, status

MAX_MESSAGE_BYTES: Final = 4096
"""An error's message: it is in the row, which is to stay narrow."""


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


@dataclass(frozen=True, slots=True)
class Change:
    """What one decision writes: column values, events in order, and the outcome where the task ends."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    drafts: Sequence[Draft] = ()
    outcome: Outcome | None = None


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


# --- decisions ----------------------------------------------------------------------------------------


def submitted() -> Draft:
    """The first event of every log."""
    return status(TaskStatus.PENDING, previous=None, attempt=0)


def told_of(checkpoint: NewCheckpoint) -> Draft:
    """The event that tells of a checkpoint."""
    names = ("checkpoint_id", "step_name", "agent_name")
    return Draft("checkpoint", {name: getattr(checkpoint, name) for name in names})


def claimed(
    task: TaskRecord,
    *,
    owner: str,
    sandbox_id: str | None,
    now_ms: int,
    place: dict[str, str] | None = None,
) -> Change:
    """`owner` takes a pending task and starts its next attempt, at `place` where a takeover can go on with it."""
    moved = step(task.status, Signal.CLAIM)
    fields = {
        "status": moved,
        "attempt": task.attempt + 1,
        "owner": owner,
        "epoch": task.epoch + 1,
        "sandbox_id": sandbox_id,
        "place": place,
        "started_at": task.started_at if task.started_at is not None else now_ms,
        "running_since": now_ms,
        "progress": None,
        "waiting_for": None,
    }
    return Change(fields, [status(moved, previous=task.status, attempt=task.attempt + 1)])


def taken_over(task: TaskRecord, *, owner: str) -> Change:
    """`owner` goes on with a dead one's attempt, under its epoch: nothing has happened to the task."""
    return Change() if task.owner is None else Change({"owner": owner})


def paused(task: TaskRecord, *, now_ms: int) -> Change:
    """The wish to pause has taken effect; its event tells who wished it and why. The owner keeps the place."""
    moved = step(task.status, Signal.PAUSE)
    fields = {"status": moved, "running_since": None, "ran_ms": task.ran_ms_at(now_ms)}
    return Change(fields, [_told_of_wish(task, moved)])


def resumed(task: TaskRecord, *, now_ms: int) -> Change:
    """A paused task goes on in the place that was kept for it, in the same attempt."""
    moved = step(task.status, Signal.RESUME)
    running_since = now_ms if task.waiting_for is None else None
    return Change({"status": moved, "running_since": running_since}, [_told_of_wish(task, moved)])


def requeued(task: TaskRecord) -> Change:
    """A paused task whose place was given up waits for its next attempt."""
    moved = step(task.status, Signal.REQUEUE)
    return Change({"status": moved}, [_told_of_wish(task, moved)])


def _told_of_wish(task: TaskRecord, moved: TaskStatus) -> Draft:
    return status(moved, previous=task.status, attempt=task.attempt, reason=task.wish_reason, by=task.wish_by)


def given_up(task: TaskRecord, note: str, *, now_ms: int) -> Change:
    """The place of a paused task is kept no longer: resuming will be a new attempt, which does not count."""
    fields = _released(task, now_ms) | {"uncounted": task.uncounted + 1}
    return Change(fields, [Draft("log", {"level": "info", "message": note})])


def completed(task: TaskRecord, result: dict[str, Any], *, now_ms: int) -> Change:
    """The agent gave a result; one that gave it in a pause went on for it."""
    if task.status is TaskStatus.PAUSED and task.desire is not Desire.CANCEL:
        return chained(task, resumed(task, now_ms=now_ms), lambda row: completed(row, result, now_ms=now_ms))
    return _end(task, Signal.COMPLETE, now_ms=now_ms, outcome=Outcome(result=fit_outcome(result)))


def chained(task: TaskRecord, first: Change, decide: Callable[[TaskRecord], Change]) -> Change:
    """`first`, and what `decide` then says of the row, as one change."""
    then = decide(dataclasses.replace(task, **first.fields))
    return Change({**first.fields, **then.fields}, [*first.drafts, *then.drafts], then.outcome)


def failed(task: TaskRecord, code: str, message: str, *, now_ms: int, details: dict[str, Any]) -> Change:
    """The task failed; `code` is a key of `errors.TASK_ERRORS`."""
    error = fit_outcome({"code": code, "message": cut_text(message, MAX_MESSAGE_BYTES), "details": details})
    return _end(task, Signal.FAIL, now_ms=now_ms, outcome=Outcome(error=error))


def cancelled(task: TaskRecord, *, now_ms: int) -> Change:
    """The wish to cancel has taken effect; its event tells who wished it and why."""
    why = {"reason": task.wish_reason, "by": task.wish_by}
    return _end(task, Signal.CANCEL, now_ms=now_ms, outcome=Outcome(), **why)


def _end(task: TaskRecord, signal: Signal, *, now_ms: int, outcome: Outcome, **why: str | None) -> Change:
    if task.desire is Desire.CANCEL and signal is not Signal.CANCEL:
        return cancelled(task, now_ms=now_ms)  # a wish to cancel is final: the outcome came too late
    moved = step(task.status, signal)
    ended = {"status": moved, "ended_at": now_ms, "watched": False, "watchers": {}}
    fields = _released(task, now_ms) | ended
    if moved is TaskStatus.CANCELLED:
        fields["desire"] = Desire.CANCEL
    if outcome.error is not None:
        fields |= {"error_code": outcome.error["code"], "error_message": outcome.error["message"]}
    told = {"result": outcome.result, "error": outcome.error, **why}
    draft = status(moved, previous=task.status, attempt=task.attempt, final=True, **told)
    return Change(fields, [draft], outcome)


def _released(task: TaskRecord, now_ms: int) -> dict[str, Any]:
    """The columns of a task that stops running."""
    left = {"owner": None, "sandbox_id": None, "place": None, "place_seq": 0, "place_file": None}
    return left | {"waiting_for": None, "running_since": None, "ran_ms": task.ran_ms_at(now_ms)}


def lost(task: TaskRecord, reason: str, *, now_ms: int, back_off_ms: int = 0, counts: bool = True) -> Change:
    """The place of an owned task was lost: it waits for the next attempt, or ends where that was the last.

    `reason` is `instance_lost`, `sandbox_lost`, or for what does not count `drain` or `busy`. A wish to cancel
    or to pause takes effect with it; a task that is paused stays so, without a place.
    """
    if task.desire is Desire.CANCEL:
        return cancelled(task, now_ms=now_ms)
    uncounted = task.uncounted + (not counts)
    if task.attempt - uncounted >= task.max_attempts:
        message = f"Lost on attempt {task.attempt}, the last one allowed."
        return failed(task, reason, message, now_ms=now_ms, details={"reason": reason})
    given_back = _released(task, now_ms) | {"uncounted": uncounted, "not_before": now_ms + back_off_ms}
    if task.status is TaskStatus.PAUSED and task.desire is Desire.PAUSE:
        return Change(given_back)
    moved = step(task.status, Signal.REQUEUE)
    told = status(moved, previous=task.status, attempt=task.attempt, reason=reason)
    waits = Change(given_back | {"status": moved}, [told])
    if task.desire is Desire.PAUSE:
        return chained(task, waits, lambda row: paused(row, now_ms=now_ms))
    return waits
