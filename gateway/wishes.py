"""What is wished of a task: by people, by its detach policy; and what is sent to it while it runs.

Each function takes a row and gives the `Change` that makes the wish durable. Where nobody owns the task it
takes effect at once, else its owner is rung and obeys. A wish that is true already changes nothing; every
other on an ended task is `invalid_state`, and so is any that contradicts a wish to cancel, which is final.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.events import Draft
from gateway.task_changes import (
    Change,
    cancelled,
    chained,
    paused,
    requeued,
)
from gateway.tasks import Desire, TaskRecord, TaskStatus

DETACH: Final = "detach"
"""Who wished what a detach policy did."""
MAX_UNDELIVERED_BYTES: Final = 1 << 20
"""Input that no attempt has been given yet."""
MAX_INPUT_BYTES: Final = 64 << 20
"""Input of a task in all."""


def wish_cancel(task: TaskRecord, *, now_ms: int, by: str, reason: str | None = None) -> Change:
    """Somebody wants the task cancelled. Raises `GatewayError` `invalid_state`."""
    if task.status is TaskStatus.CANCELLED or (task.desire is Desire.CANCEL and not task.ended):
        return Change()
    _must_be_open(task)
    wish = _wish(Desire.CANCEL, by, reason)
    if task.owner is not None:
        return wish
    return chained(task, wish, lambda row: cancelled(row, now_ms=now_ms))


def wish_pause(
    task: TaskRecord, *, now_ms: int, by: str, reason: str | None = None, detached: bool = False
) -> Change:
    """Somebody, or with `detached` its detach policy, wants the task paused. Raises `GatewayError` `invalid_state`."""
    _must_be_open(task)
    wish = _wish(Desire.PAUSE, by, reason, detached=detached)
    if task.desire is Desire.PAUSE:
        # A person's wish makes the policy's their own: a watcher who comes does not end it any more.
        return wish if task.detached and not detached else Change()
    if task.owner is not None:
        return wish
    return chained(task, wish, lambda row: paused(row, now_ms=now_ms))


def wish_resume(task: TaskRecord, *, by: str, reason: str | None = None) -> Change:
    """Somebody wants the task to go on. Raises `GatewayError` `invalid_state`."""
    _must_be_open(task)
    if task.desire is Desire.RUN:
        return Change()
    wish = _wish(Desire.RUN, by, reason)
    return wish if task.owner is not None else chained(task, wish, requeued)


def _wish(desire: Desire, by: str, reason: str | None, *, detached: bool = False) -> Change:
    return Change({"desire": desire, "wish_by": by, "wish_reason": reason, "detached": detached})


def _must_be_open(task: TaskRecord) -> None:
    if task.ended:
        raise GatewayError("invalid_state", f"The task is already {task.status}.", status=task.status)
    if task.desire is Desire.CANCEL:
        raise GatewayError("invalid_state", "The task is being cancelled.", status=task.status)


# --- the detach policy --------------------------------------------------------------------------------


def watcher_came(task: TaskRecord, *, instance: str) -> Change:
    """Somebody watches a task that minds, at `instance`: a pause of its policy ends."""
    if task.ended:
        return Change()
    here = task.watched and task.watchers.get(instance, 0) is None
    minds = {} if here else {"watched": True, "watchers": {**task.watchers, instance: None}}
    goes_on = task.detached and task.desire is Desire.PAUSE
    change = wish_resume(task, by=DETACH) if goes_on else Change()
    return dataclasses.replace(change, fields={**minds, **change.fields})


def watcher_left(task: TaskRecord, *, instance: str, now_ms: int) -> Change:
    """The last who watched it at `instance` left then."""
    if task.ended or not task.watched:
        return Change()
    return Change({"watchers": {**task.watchers, instance: now_ms}})


def unwatched_since(task: TaskRecord, gone: Mapping[str, int]) -> int | None:
    """Since when nobody watches a task that minds, in ms since 1970 UTC; None while somebody does.

    `gone` are the instances that live no more, and since when.
    """
    left = [gone.get(instance) if at is None else at for instance, at in task.watchers.items()]
    return None if None in left else max((at for at in left if at is not None), default=0)


def watchers_gone(task: TaskRecord, *, now_ms: int, is_due: bool = True) -> Change:
    """Nobody has watched for as long as the policy waits: it takes effect, and minds no more until somebody does."""
    if task.ended or not task.watched or not is_due:
        return Change()
    change = Change()
    if task.detach == "cancel":
        change = wish_cancel(task, now_ms=now_ms, by=DETACH)
    elif task.detach == "pause" and task.desire is Desire.RUN:
        change = wish_pause(task, now_ms=now_ms, by=DETACH, detached=True)
    return dataclasses.replace(change, fields={"watched": False, "watchers": {}, **change.fields})


# --- input --------------------------------------------------------------------------------------------


def send_input(task: TaskRecord, nbytes: int) -> Change:
    """`nbytes` more are sent to the task. Raises `GatewayError` `invalid_state`, `overloaded` or `too_large`."""
    if task.ended:
        raise GatewayError("invalid_state", f"The task is already {task.status}.", status=task.status)
    if not task.takes_input:
        raise GatewayError("invalid_state", "The task takes no input.", status=task.status)
    total = task.input_bytes + nbytes
    if total > MAX_INPUT_BYTES:
        raise GatewayError("too_large", f"A task is sent at most {MAX_INPUT_BYTES} bytes in all.")
    if total - task.input_given_bytes > MAX_UNDELIVERED_BYTES:
        message = f"More than {MAX_UNDELIVERED_BYTES} bytes wait to be taken."
        raise GatewayError("overloaded", message, retry_after_ms=1000)
    return Change({"inputs": task.inputs + 1, "input_bytes": total})


def asked(task: TaskRecord, question: Mapping[str, Any], *, now_ms: int) -> Change:
    """The task waits to be told: `question` is its `key`, `prompt` and, where there is one, `schema`.

    Its time stands still meanwhile.
    """
    fields = {"waiting_for": dict(question), "running_since": None, "ran_ms": task.ran_ms_at(now_ms)}
    return Change(fields, [Draft("input_requested", dict(question))])


def answered(task: TaskRecord, key: str, *, now_ms: int) -> Change:
    """What it waited for has come; where it is paused, its time goes on with it."""
    running_since = now_ms if task.status is TaskStatus.RUNNING else None
    return Change({"waiting_for": None, "running_since": running_since}, [Draft("input_given", {"key": key})])


def resize(task: TaskRecord, size: dict[str, Any]) -> Change:
    """The size of the task's terminal is to be `size` (cols, rows). Raises `GatewayError` `invalid_state`."""
    if task.ended:
        raise GatewayError("invalid_state", f"The task is already {task.status}.", status=task.status)
    return Change() if task.tty == size else Change({"tty": size})
