"""What is wished of a task, by people and by its detach policy, and what is sent to it while it runs."""

import dataclasses
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.task_changes import Change
from gateway.tasks import Desire, TaskRecord, TaskStatus
from gateway.wishes import (
    MAX_INPUT_BYTES,
    MAX_UNDELIVERED_BYTES,
    resize,
    send_input,
    unwatched_since,
    watcher_came,
    watcher_left,
    watchers_gone,
    wish_cancel,
    wish_pause,
    wish_resume,
)
from tests.support.records import NOW_MS, record, running

LATER_MS = NOW_MS + 5000
SIZE = {"cols": 80, "rows": 24}


def after(task: TaskRecord, change: Change) -> TaskRecord:
    """The row once a store has applied `change`."""
    return dataclasses.replace(task, **change.fields, last_seq=task.last_seq + len(change.drafts))


def told(change: Change) -> list[dict[str, Any]]:
    """What the change's events say."""
    return [draft.data for draft in change.drafts]


def refusal(asked: Any, *given: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    """Code and details of a refusal."""
    with pytest.raises(GatewayError) as caught:
        asked(*given, **more)
    return caught.value.code, caught.value.details


def kept(**fields: Any) -> TaskRecord:
    """A paused task whose place instance-1 keeps."""
    return running(
        **{"status": TaskStatus.PAUSED, "desire": Desire.PAUSE, "running_since": None, "ran_ms": 700} | fields
    )


def given_up(**fields: Any) -> TaskRecord:
    """A paused task without a place."""
    return kept(**{"owner": None, "attempt": 1} | fields)


# --- cancel ---------------------------------------------------------------------------------------------


def test_wish_cancel_takes_effect_at_once_without_an_owner() -> None:
    """A waiting task is cancelled by the wish itself."""
    change = wish_cancel(record(), now_ms=LATER_MS, by="bob", reason="enough")
    done = after(record(), change)
    assert (done.status, done.desire, done.wish_by) == (TaskStatus.CANCELLED, Desire.CANCEL, "bob")
    assert change.drafts[0].data["by"] == "bob"


def test_wish_cancel_of_an_owned_task_is_only_a_wish() -> None:
    """The owner has to obey: the row says what is wanted, and no event says that it is so."""
    task = running()
    change = wish_cancel(task, now_ms=LATER_MS, by="bob")
    assert change.drafts == ()
    assert (after(task, change).status, after(task, change).desire) == (TaskStatus.RUNNING, Desire.CANCEL)


@pytest.mark.parametrize(
    "task", [record(status=TaskStatus.CANCELLED, desire=Desire.CANCEL), running(desire=Desire.CANCEL)]
)
def test_wish_cancel_that_is_true_already_changes_nothing(task: TaskRecord) -> None:
    """A repeat is answered, and who wished it first stays."""
    assert wish_cancel(task, now_ms=LATER_MS, by="eve") == Change()


@pytest.mark.parametrize("desire", list(Desire))
@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.FAILED])
def test_wish_cancel_of_an_ended_task_is_refused(status: TaskStatus, desire: Desire) -> None:
    """What ended otherwise can't be cancelled, also where that had been wished before it ended."""
    with pytest.raises(GatewayError) as caught:
        wish_cancel(record(status=status, desire=desire), now_ms=LATER_MS, by="bob")
    assert (caught.value.code, caught.value.details) == ("invalid_state", {"status": status})


@pytest.mark.parametrize("task", [record(), given_up()])
def test_wish_cancel_reaches_a_task_without_an_owner_at_once(task: TaskRecord) -> None:
    """Pending or paused, nobody has to obey."""
    change = wish_cancel(task, now_ms=LATER_MS, by="bob")
    assert after(task, change).status is TaskStatus.CANCELLED
    assert [draft.final for draft in change.drafts] == [True]


def test_wish_cancel_of_a_kept_pause_is_its_owners_to_obey() -> None:
    """A frozen process is ended by whoever holds it."""
    change = wish_cancel(kept(), now_ms=LATER_MS, by="bob")
    assert (after(kept(), change).desire, told(change)) == (Desire.CANCEL, [])


# --- pause and resume -----------------------------------------------------------------------------------


def test_wish_pause_of_a_waiting_task_takes_effect_at_once() -> None:
    """The event says who and why; nothing can claim it then."""
    change = wish_pause(record(), now_ms=LATER_MS, by="bob", reason="lunch")
    assert after(record(), change).status is TaskStatus.PAUSED
    why = {"by": "bob", "reason": "lunch"}
    assert told(change) == [{"status": "paused", "previous": "pending", "attempt": 0} | why]


def test_wish_pause_of_a_running_task_is_only_a_wish() -> None:
    """`desire` says what is wanted, `status` what is true."""
    change = wish_pause(running(), now_ms=LATER_MS, by="bob")
    row = after(running(), change)
    assert (row.status, row.desire, row.wish_by, told(change)) == ("running", Desire.PAUSE, "bob", [])


@pytest.mark.parametrize("task", [kept(), given_up(), running(desire=Desire.PAUSE)])
def test_wish_pause_that_is_true_already_changes_nothing(task: TaskRecord) -> None:
    """A repeat is answered, and who wished it first stays."""
    assert wish_pause(task, now_ms=LATER_MS, by="eve") == Change()


@pytest.mark.parametrize("task", [running(), record(), kept(desire=Desire.RUN)])
def test_wish_resume_that_is_true_already_changes_nothing(task: TaskRecord) -> None:
    """Running, waiting to run, about to go on."""
    assert wish_resume(task, by="eve") == Change()


def test_wish_resume_before_the_pause_took_effect_takes_it_back() -> None:
    """The owner finds that nothing is wanted any more."""
    row = after(running(desire=Desire.PAUSE), wish_resume(running(desire=Desire.PAUSE), by="bob"))
    assert (row.status, row.desire) == (TaskStatus.RUNNING, Desire.RUN)


def test_wish_resume_of_a_kept_pause_is_its_owners_to_obey() -> None:
    """The owner wakes what it holds."""
    change = wish_resume(kept(), by="bob", reason="back")
    row = after(kept(), change)
    assert (row.status, row.desire, row.wish_by, row.wish_reason) == ("paused", Desire.RUN, "bob", "back")
    assert told(change) == []


def test_wish_resume_without_a_place_waits_for_the_next_attempt() -> None:
    """`pending`, with who and why and the old attempt; the claim that follows is another one."""
    change = wish_resume(given_up(), by="bob", reason="back")
    row = after(given_up(), change)
    assert (row.status, row.desire) == (TaskStatus.PENDING, Desire.RUN)
    why = {"by": "bob", "reason": "back"}
    assert told(change) == [{"status": "pending", "previous": "paused", "attempt": 1} | why]


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED])
@pytest.mark.parametrize("desire", list(Desire))
def test_wish_on_an_ended_task_is_refused(status: TaskStatus, desire: Desire) -> None:
    """Pause, resume, input and size of what is over are `invalid_state`, with the status."""
    task = record(status=status, desire=desire, takes_input=True)
    refused = ("invalid_state", {"status": status})
    assert refusal(wish_pause, task, now_ms=LATER_MS, by="bob") == refused
    assert refusal(wish_resume, task, by="bob") == refused
    assert refusal(send_input, task, 1) == refused
    assert refusal(resize, task, SIZE) == refused


def test_cancel_is_final() -> None:
    """What is about to be cancelled can neither be paused nor go on."""
    task = running(desire=Desire.CANCEL)
    refused = ("invalid_state", {"status": TaskStatus.RUNNING})
    assert refusal(wish_pause, task, now_ms=LATER_MS, by="bob") == refused
    assert refusal(wish_resume, task, by="bob") == refused


# --- detach ---------------------------------------------------------------------------------------------


def test_watcher_who_comes_is_noted_once() -> None:
    """From then on the policy minds."""
    task = running(detach="cancel")
    change = watcher_came(task, instance="a")
    assert change == Change({"watched": True, "watchers": {"a": None}})
    assert watcher_came(after(task, change), instance="a") == Change()
    assert watcher_came(record(status=TaskStatus.COMPLETED, detach="cancel"), instance="a") == Change()


def test_watchers_are_counted_by_instance() -> None:
    """Nobody watches since the last of all has left, or the instance has that somebody was at."""
    task = after(running(detach="cancel"), watcher_came(running(detach="cancel"), instance="a"))
    task = after(task, watcher_came(task, instance="b"))
    assert unwatched_since(task, {}) is None
    task = after(task, watcher_left(task, instance="a", now_ms=10))
    assert unwatched_since(task, {}) is None
    assert unwatched_since(task, {"b": 7}) == 10
    assert unwatched_since(task, {"a": 99, "b": 20}) == 20
    task = after(task, watcher_left(task, instance="b", now_ms=30))
    assert unwatched_since(task, {}) == 30
    assert unwatched_since(after(task, watcher_came(task, instance="a")), {}) is None
    assert unwatched_since(running(detach="cancel", watched=True), {}) == 0
    assert watcher_left(running(detach="cancel"), instance="a", now_ms=1) == Change()


def test_detach_cancels() -> None:
    """By `detach`."""
    change = watchers_gone(record(detach="cancel", watched=True), now_ms=LATER_MS)
    assert told(change)[0] | {"attempt": 0} == told(change)[0]
    assert (told(change)[0]["status"], told(change)[0]["by"]) == ("cancelled", "detach")


def test_detach_pauses_until_somebody_comes() -> None:
    """Such a pause ends by itself, once; then the clock can start again."""
    task = record(detach="pause", watched=True)
    away = after(task, watchers_gone(task, now_ms=LATER_MS))
    assert (away.status, away.wish_by, away.watched) == (TaskStatus.PAUSED, "detach", False)
    assert watchers_gone(away, now_ms=LATER_MS) == Change()
    change = watcher_came(away, instance="a")
    assert [(data["status"], data["by"]) for data in told(change)] == [("pending", "detach")]
    back = after(away, change)
    assert (back.desire, back.watched, back.detached) == (Desire.RUN, True, False)
    assert watchers_gone(task, now_ms=LATER_MS, is_due=False) == Change()


def test_pause_that_somebody_wished_does_not_end_by_itself() -> None:
    """Before the policy took effect, or after: a person's wish is theirs to end."""
    task = record(detach="pause", watched=True)
    by_bob = after(task, wish_pause(task, now_ms=NOW_MS, by="bob"))
    for paused in (
        after(by_bob, watchers_gone(by_bob, now_ms=LATER_MS)),
        after(task, watchers_gone(task, now_ms=LATER_MS)),
    ):
        mine = after(paused, wish_pause(paused, now_ms=LATER_MS, by="bob"))
        assert mine.wish_by == "bob"
        assert told(watcher_came(mine, instance="a")) == []
        assert after(mine, watcher_came(mine, instance="a")).status is TaskStatus.PAUSED


def test_detach_of_a_task_that_nobody_watched_does_nothing() -> None:
    """The clock needs somebody who goes."""
    for policy in ("pause", "cancel"):
        assert watchers_gone(record(detach=policy), now_ms=LATER_MS) == Change()


# --- input ----------------------------------------------------------------------------------------------


def test_send_input_counts_what_is_sent() -> None:
    """How many, and how much."""
    change = send_input(running(takes_input=True, inputs=2, input_bytes=10), 5)
    assert change == Change({"inputs": 3, "input_bytes": 15})


def test_send_input_without_stdin_is_refused() -> None:
    """Nothing would ever read it."""
    refused = ("invalid_state", {"status": TaskStatus.RUNNING})
    assert refusal(send_input, running(), 1) == refused


def test_send_input_waits_in_bounds() -> None:
    """1 MiB may wait and not a byte more; what was given makes room."""
    full = running(takes_input=True, input_bytes=MAX_UNDELIVERED_BYTES)
    assert send_input(full, 0).fields["input_bytes"] == MAX_UNDELIVERED_BYTES
    code, details = refusal(send_input, full, 1)
    assert (code, details["retry_after_ms"] > 0) == ("overloaded", True)
    assert send_input(dataclasses.replace(full, input_given_bytes=1), 1)


def test_send_input_ends_at_64_mib() -> None:
    """In all, however much of it was given."""
    near = running(takes_input=True, input_bytes=MAX_INPUT_BYTES - 1, input_given_bytes=MAX_INPUT_BYTES - 1)
    assert send_input(near, 1)
    assert refusal(send_input, near, 2) == ("too_large", {})


def test_resize_keeps_the_newest_size() -> None:
    """The same size again changes nothing."""
    assert resize(running(), SIZE) == Change({"tty": SIZE})
    assert resize(running(tty=SIZE), SIZE) == Change()
