"""What each move of a task writes: column values, and the events that tell of them.

The functions decide and do not act: each takes a row and gives a `Change`, which a store applies in one transaction
(docs/decisions/0001). Statuses move through `tasks.step` alone, which raises where its table does not allow the move.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.checkpoints import NewCheckpoint
from gateway.events import Draft, cut_text, fit_outcome, status
from gateway.tasks import Desire, Outcome, Signal, TaskRecord, TaskStatus, step

MAX_MESSAGE_BYTES: Final = 4096
"""An error's message: it is in the row, which is to stay narrow."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one decision writes: column values, events in order, and the outcome where the task ends."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    drafts: Sequence[Draft] = ()
    outcome: Outcome | None = None


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


def lost(
    task: TaskRecord,
    reason: str,
    *,
    now_ms: int,
    back_off_ms: int = 0,
    counts: bool = True,
    heard_ms: int | None = None,
) -> Change:
    """The place of an owned task was lost: it waits for the next attempt, or ends where that was the last.

    `reason` is `instance_lost`, `sandbox_lost`, or for what does not count `drain` or `busy`. A wish to cancel
    or to pause takes effect with it; a task that is paused stays so, without a place. `heard_ms` is the last sign
    of an owner that is dead: what came after it is no running time, however long nobody was there.
    """
    if task.desire is Desire.CANCEL:
        return cancelled(task, now_ms=now_ms)
    uncounted = task.uncounted + (not counts)
    if task.attempt - uncounted >= task.max_attempts:
        message = f"Lost on attempt {task.attempt}, the last one allowed."
        return failed(task, reason, message, now_ms=now_ms, details={"reason": reason})
    ran_to_ms = now_ms if heard_ms is None else min(now_ms, max(heard_ms, task.updated_at))
    given_back = _released(task, ran_to_ms) | {"uncounted": uncounted, "not_before": now_ms + back_off_ms}
    if task.status is TaskStatus.PAUSED and task.desire is Desire.PAUSE:
        return Change(given_back)
    moved = step(task.status, Signal.REQUEUE)
    told = status(moved, previous=task.status, attempt=task.attempt, reason=reason)
    waits = Change(given_back | {"status": moved}, [told])
    if task.desire is Desire.PAUSE:
        return chained(task, waits, lambda row: paused(row, now_ms=now_ms))
    return waits
