"""A task's state machine: what the table allows, what each decision writes, and what the docs say of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import TASK_ERRORS, GatewayError
from gateway.events import Draft
from gateway.task_changes import (
    Change,
    cancelled,
    claimed,
    completed,
    failed,
    given_up,
    lost,
    paused,
    resumed,
    submitted,
)
from gateway.task_wire import listed, to_wire
from gateway.tasks import (
    COLUMNS,
    ENDED,
    TRANSITIONS,
    Desire,
    Outcome,
    Signal,
    TaskRecord,
    TaskStatus,
    step,
)
from gateway.wishes import watcher_came, watcher_left, watchers_gone, wish_cancel, wish_pause, wish_resume
from tests.support.records import NOW_MS, deterministic, record, running
from tests.support.state_diagram import PAGE, page

STATUSES = st.sampled_from(list(TaskStatus))
SIGNALS = st.sampled_from(list(Signal))
LATER_MS = NOW_MS + 5000
TASK_KEYS = """
    task_id agent status desire mode session_id workflow_id subject labels priority attempt max_attempts
    timeout_s created_at updated_at started_at ended_at progress waiting_for last_seq result error instance
    sandbox_id
"""


def after(task: TaskRecord, change: Change) -> TaskRecord:
    """The row once a store has applied `change`."""
    return dataclasses.replace(task, **change.fields, last_seq=task.last_seq + len(change.drafts))


@given(STATUSES, SIGNALS)
@deterministic
def test_step_follows_the_table(current: TaskStatus, signal: Signal) -> None:
    """A signal leads where the table says; one that it does not list is `invalid_state`, with the status."""
    if signal in TRANSITIONS[current]:
        assert step(current, signal) is TRANSITIONS[current][signal]
    else:
        with pytest.raises(GatewayError) as caught:
            step(current, signal)
        assert (caught.value.code, caught.value.details) == ("invalid_state", {"status": current})


def test_table_has_a_row_for_every_status_and_a_use_for_every_signal() -> None:
    """The table is whole."""
    assert set(TRANSITIONS) == set(TaskStatus)
    assert {signal for moves in TRANSITIONS.values() for signal in moves} == set(Signal)


def test_every_status_can_be_reached_from_pending() -> None:
    """No status stands apart, and from each that has not ended every end but completion is one step away."""
    reached = {TaskStatus.PENDING}
    while (more := {to for status in reached for to in TRANSITIONS[status].values()} - reached) != set():
        reached |= more
    assert reached == set(TaskStatus)
    for status in set(TaskStatus) - ENDED:
        assert {TaskStatus.FAILED, TaskStatus.CANCELLED} <= set(TRANSITIONS[status].values())


def test_ended_statuses_have_no_way_out() -> None:
    """Completed, failed and cancelled are the ends, by the contract."""
    assert {"completed", "failed", "cancelled"} == ENDED
    assert [status for status in TaskStatus if record(status=status).ended] == [
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.CANCELLED,
    ]


def test_table_is_the_contracts() -> None:
    """From each status exactly those that the contract lists can follow."""
    assert {status: set(moves.values()) for status, moves in TRANSITIONS.items()} == {
        "pending": {"running", "paused", "cancelled", "failed"},
        "running": {"pending", "paused", "completed", "failed", "cancelled"},
        "paused": {"running", "pending", "cancelled", "failed"},
        "completed": set(),
        "failed": set(),
        "cancelled": set(),
    }


# --- random lives ---------------------------------------------------------------------------------------


def obeys(task: TaskRecord, desire: Desire) -> bool:
    """Whether the task's owner has something to do about that desire."""
    done = TaskStatus.PAUSED if desire is Desire.PAUSE else TaskStatus.RUNNING
    return task.owner is not None and task.desire is desire and task.status is not done


def kept(task: TaskRecord) -> bool:
    """Whether it is paused and its place is kept for it."""
    return task.owner is not None and task.status is TaskStatus.PAUSED


DECISIONS: dict[str, Callable[[TaskRecord, int], Change]] = {
    "claim": lambda task, now: claimed(task, owner="instance-1", sandbox_id="s1", now_ms=now),
    "complete": lambda task, now: completed(task, {"exit_code": 0}, now_ms=now),
    "fail": lambda task, now: failed(task, "command_failed", "no", now_ms=now, details={}),
    "cancel": lambda task, now: cancelled(task, now_ms=now),
    "lose": lambda task, now: lost(task, "sandbox_lost", now_ms=now, back_off_ms=100),
    "drain": lambda task, now: lost(task, "drain", now_ms=now, counts=False),
    "wish": lambda task, now: wish_cancel(task, now_ms=now, by="alice", reason="why"),
    "wish pause": lambda task, now: wish_pause(task, now_ms=now, by="bob"),
    "wish resume": lambda task, _now: wish_resume(task, by="bob"),
    "came": lambda task, _now: watcher_came(task, instance="a"),
    "left": lambda task, now: watcher_left(task, instance="a", now_ms=now),
    "gone": lambda task, now: watchers_gone(task, now_ms=now),
    "pause": lambda task, now: paused(task, now_ms=now) if obeys(task, Desire.PAUSE) else Change(),
    "resume": lambda task, now: resumed(task, now_ms=now) if obeys(task, Desire.RUN) else Change(),
    "hold over": lambda task, now: given_up(task, "", now_ms=now) if kept(task) else Change(),
}
OWNERS = {"complete", "lose", "drain"}
"""What only an owner does."""
LIVES = st.lists(st.tuples(st.sampled_from(sorted(DECISIONS)), st.integers(0, 2000)), max_size=40)


@given(LIVES, st.integers(1, 4), st.sampled_from(["continue", "pause", "cancel"]))
@deterministic
def test_any_life_of_a_task_keeps_its_rules(
    life: list[tuple[str, int]], max_attempts: int, detach: str
) -> None:
    """Whatever is decided in whatever order: a refusal is `invalid_state`, what is written is legal."""
    task, now = record(max_attempts=max_attempts, detach=detach, last_seq=1), NOW_MS
    drafts = [submitted()]
    for name, pause in life:
        now += pause
        if name in OWNERS and task.owner is None:
            continue
        try:
            change = DECISIONS[name](task, now)
        except GatewayError as error:
            assert (error.code, error.details) == ("invalid_state", {"status": task.status})
            continue
        moved = after(task, change)
        check_move(task, change, moved)
        task = moved
        drafts += change.drafts
    check_log(drafts, task)


def check_move(before: TaskRecord, change: Change, now: TaskRecord) -> None:
    """One decision's row is a legal successor, and its events tell of it."""
    assert not (before.ended and (change.fields or change.drafts))
    status = before.status
    for draft in change.drafts:
        assert draft.kind == "log" or draft.data["previous"] == status
        assert draft.kind == "log" or draft.data["status"] in TRANSITIONS[status].values()
        status = draft.data.get("status", status)
    assert now.status == status
    assert (now.owner is not None) == (now.status is TaskStatus.RUNNING) or now.status is TaskStatus.PAUSED
    assert now.status is not TaskStatus.PENDING or now.desire is Desire.RUN
    assert not now.detached or now.desire is Desire.PAUSE
    assert (now.running_since is not None) == (now.status is TaskStatus.RUNNING)
    assert (now.ended_at is not None) == now.ended
    assert (change.outcome is not None) == (now.ended and not before.ended)
    assert now.epoch == now.attempt  # each claim raises both
    assert now.epoch >= before.epoch
    assert now.ran_ms >= before.ran_ms
    assert now.attempt - now.uncounted <= now.max_attempts
    assert before.desire is not Desire.CANCEL or now.desire is Desire.CANCEL


def check_log(drafts: list[Draft], task: TaskRecord) -> None:
    """The events of a life follow each other, end with the task, and tell the last status."""
    drafts = [draft for draft in drafts if draft.kind == "status"]
    told = [draft.data for draft in drafts]
    assert [data["previous"] for data in told] == [None, *(data["status"] for data in told[:-1])]
    assert [draft.final for draft in drafts] == [False] * (len(drafts) - 1) + [task.ended]
    assert told[-1]["status"] == task.status
    assert told[-1]["attempt"] == task.attempt
    claims = [data for data in told if (data["status"], data["previous"]) == ("running", "pending")]
    attempts = [data["attempt"] for data in claims]
    assert attempts == list(range(1, len(attempts) + 1))


# --- one by one -----------------------------------------------------------------------------------------


def test_submit_writes_pending_without_a_previous_status() -> None:
    """The first event of every log is the contract's."""
    assert submitted().data == {"status": "pending", "previous": None, "attempt": 0}


def test_claim_starts_the_next_attempt() -> None:
    """A claim raises attempt and epoch, names owner and sandbox, and keeps when the task first started."""
    first = after(record(last_seq=1), claimed(record(), owner="i1", sandbox_id="s1", now_ms=NOW_MS))
    assert (first.status, first.owner, first.sandbox_id) == (TaskStatus.RUNNING, "i1", "s1")
    assert (first.attempt, first.epoch, first.started_at) == (1, 1, NOW_MS)
    again = after(first, lost(first, "sandbox_lost", now_ms=LATER_MS))
    second = after(again, claimed(again, owner="i2", sandbox_id=None, now_ms=LATER_MS + 1))
    assert (second.attempt, second.epoch, second.owner) == (2, 2, "i2")
    assert second.started_at == NOW_MS


def test_running_time_is_summed_over_attempts() -> None:
    """Only running time counts, not what was spent waiting."""
    task = running(ran_ms=700)
    assert task.ran_ms_at(LATER_MS) == 5700
    back = after(task, lost(task, "sandbox_lost", now_ms=LATER_MS))
    assert back.ran_ms_at(LATER_MS + 60_000) == 5700
    # A wall clock may go back; running time does not.
    assert task.ran_ms_at(NOW_MS - 1) == 700


def test_completed_tells_its_result() -> None:
    """The last event carries the result, and so does the outcome; the owner and the sandbox are let go."""
    change = completed(running(), {"exit_code": 0}, now_ms=LATER_MS)
    (draft,) = change.drafts
    assert draft == Draft(
        "status",
        {"status": "completed", "previous": "running", "attempt": 1, "result": {"exit_code": 0}},
        final=True,
    )
    assert change.outcome == Outcome(result={"exit_code": 0})
    done = after(running(), change)
    assert (done.owner, done.sandbox_id, done.ended_at) == (None, None, LATER_MS)


def test_failed_tells_its_error() -> None:
    """The error has the contract's three keys, in the event as in the outcome."""
    change = failed(running(), "timeout", "too long", now_ms=LATER_MS, details={"exit_code": None})
    error = {"code": "timeout", "message": "too long", "details": {"exit_code": None}}
    assert change.outcome == Outcome(error=error)
    assert change.drafts[0].data["error"] == error


def test_cancelled_tells_who_and_why() -> None:
    """The event of a cancelled task names who wished it, and the reason where one was given."""
    told = cancelled(running(wish_by="bob", wish_reason="enough"), now_ms=LATER_MS).drafts[0].data
    assert (told["by"], told["reason"]) == ("bob", "enough")
    assert "reason" not in cancelled(running(wish_by="bob"), now_ms=LATER_MS).drafts[0].data


@pytest.mark.parametrize("reason", ["sandbox_lost", "instance_lost"])
def test_lost_place_is_tried_again_up_to_max_attempts(reason: str) -> None:
    """A lost place writes `pending` with its reason and the old attempt; on the last, it ends the task."""
    task = running(attempt=2, epoch=2, max_attempts=3)
    change = lost(task, reason, now_ms=LATER_MS, back_off_ms=300)
    assert change.drafts[0].data == {
        "status": "pending",
        "previous": "running",
        "attempt": 2,
        "reason": reason,
    }
    assert after(task, change).not_before == LATER_MS + 300
    last = lost(running(attempt=3, epoch=3, max_attempts=3), reason, now_ms=LATER_MS)
    assert last.outcome is not None
    assert last.outcome.error is not None
    assert last.outcome.error["code"] == reason
    assert reason in TASK_ERRORS


def test_lost_without_counting_never_ends_a_task() -> None:
    """A drain gives the attempt back, however often, and only counted losses end the task."""
    task = running(max_attempts=1)
    for _ in range(5):
        waiting = after(task, lost(task, "drain", now_ms=LATER_MS, counts=False))
        assert waiting.status is TaskStatus.PENDING
        task = after(waiting, claimed(waiting, owner="i1", sandbox_id=None, now_ms=LATER_MS))
    assert (task.attempt, task.uncounted) == (6, 5)
    assert after(task, lost(task, "sandbox_lost", now_ms=LATER_MS)).status is TaskStatus.FAILED


def test_lost_place_of_a_task_to_be_cancelled_cancels_it() -> None:
    """The wish takes effect with the takeover, instead of another attempt."""
    task = running(desire=Desire.CANCEL, wish_by="bob")
    assert after(task, lost(task, "instance_lost", now_ms=LATER_MS)).status is TaskStatus.CANCELLED


@pytest.mark.parametrize("status", [TaskStatus.RUNNING, TaskStatus.PAUSED])
def test_end_that_comes_after_the_wish_to_cancel_is_the_cancel(status: TaskStatus) -> None:
    """A cancel that was answered is final: a result or an error that comes later is thrown away."""
    task = running(desire=Desire.CANCEL, wish_by="bob", status=status)
    for change in (
        completed(task, {"a": 1}, now_ms=LATER_MS),
        failed(task, "timeout", "late", now_ms=LATER_MS, details={}),
    ):
        assert after(task, change).status is TaskStatus.CANCELLED
        assert [draft.data["status"] for draft in change.drafts] == ["cancelled"]
        assert change.outcome == Outcome()


def test_pause_and_resume_tell_who_and_why() -> None:
    """Both events name who wished it; the attempt stays, and the time between does not count."""
    wished = running(desire=Desire.PAUSE, wish_by="bob", wish_reason="lunch")
    pause = paused(wished, now_ms=LATER_MS)
    why = {"by": "bob", "reason": "lunch"}
    assert pause.drafts[0].data == {"status": "paused", "previous": "running", "attempt": 1} | why
    held = after(wished, pause)
    assert (held.owner, held.ran_ms_at(LATER_MS + 60_000)) == ("instance-1", 5000)
    resume = resumed(dataclasses.replace(held, wish_reason=None), now_ms=LATER_MS + 60_000)
    assert resume.drafts[0].data == {"status": "running", "previous": "paused", "attempt": 1, "by": "bob"}
    assert after(held, resume).ran_ms_at(LATER_MS + 61_000) == 6000


def test_given_up_place_costs_no_attempt() -> None:
    """The task stays paused, nobody owns it, and the log says what that means."""
    held = running(status=TaskStatus.PAUSED, desire=Desire.PAUSE, running_since=None, max_attempts=1)
    change = given_up(held, "kept for 900 s", now_ms=LATER_MS)
    row = after(held, change)
    assert (row.status, row.owner, row.sandbox_id) == (TaskStatus.PAUSED, None, None)
    assert change.drafts == [Draft("log", {"level": "info", "message": "kept for 900 s"})]
    pending = after(row, wish_resume(row, by="bob"))
    again = after(pending, claimed(pending, owner="i2", sandbox_id=None, now_ms=LATER_MS))
    assert (again.attempt, again.attempt - again.uncounted) == (2, 1)


@pytest.mark.parametrize("status", [TaskStatus.RUNNING, TaskStatus.PAUSED])
def test_lost_place_of_a_task_to_be_paused_leaves_it_paused(status: TaskStatus) -> None:
    """The wish takes effect with the loss; a task that was paused already says nothing new."""
    task = running(status=status, desire=Desire.PAUSE, wish_by="bob")
    change = lost(task, "instance_lost", now_ms=LATER_MS)
    assert (after(task, change).status, after(task, change).owner) == (TaskStatus.PAUSED, None)
    said = [(draft.data["status"], draft.data.get("reason")) for draft in change.drafts]
    assert said == ([("pending", "instance_lost"), ("paused", None)] if status == "running" else [])


def test_lost_place_of_a_paused_task_counts_like_any_other() -> None:
    """On the last attempt allowed it ends the task, also in a pause."""
    task = running(status=TaskStatus.PAUSED, desire=Desire.PAUSE, max_attempts=1)
    assert after(task, lost(task, "sandbox_lost", now_ms=LATER_MS)).status is TaskStatus.FAILED


def test_completed_in_a_pause_went_on_for_it() -> None:
    """A sandbox that ends a task that it had paused is believed, and the log stays legal."""
    task = running(status=TaskStatus.PAUSED, desire=Desire.PAUSE, running_since=None)
    change = completed(task, {}, now_ms=LATER_MS)
    assert [draft.data["status"] for draft in change.drafts] == ["running", "completed"]
    assert change.outcome == Outcome(result={})


def test_to_wire_has_the_contracts_keys() -> None:
    """A Task has exactly the contract's fields, times as text and no inner ones."""
    wire = to_wire(running(labels={"k": "v"}), Outcome(result={"a": 1}))
    assert list(wire) == TASK_KEYS.split()
    assert (wire["created_at"], wire["ended_at"]) == ("2025-06-15T15:06:40.000Z", None)
    assert (wire["result"], wire["error"], wire["instance"]) == ({"a": 1}, None, "instance-1")
    assert set(listed(running())) == {*TASK_KEYS.split(), "title"} - {"result"}
    bare: dict[str, Any] = to_wire(record(), Outcome())
    assert (bare["result"], bare["error"], bare["started_at"]) == (None, None, None)


def test_question_without_a_schema_says_so() -> None:
    """`waiting_for` has all three of its names, whether the agent asked for a shape or for anything."""
    question = {"key": "k", "prompt": "Which?"}
    assert to_wire(running(waiting_for=question), Outcome())["waiting_for"] == {**question, "schema": None}
    shaped = {**question, "schema": {"type": "string"}}
    assert listed(running(waiting_for=shaped))["waiting_for"] == shaped


def test_listed_leaves_out_the_result_and_the_errors_details() -> None:
    """In a list a Task has no `result`, and of its error only code and message."""
    change = failed(running(), "timeout", "too long", now_ms=LATER_MS, details={"large": "x"})
    wire = listed(dataclasses.replace(running(), **change.fields))
    assert set(TASK_KEYS.split()) - set(wire) == {"result"}
    assert wire["error"] == {"code": "timeout", "message": "too long"}


def test_columns_are_the_records_fields() -> None:
    """The names that a store keeps are those of the record, each once."""
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert set(COLUMNS) >= set(listed(record())) - {"instance", "error"}


def test_docs_show_the_table() -> None:
    """`docs/state-machine.md` is what `python -m tests.support.state_diagram` makes of the table."""
    assert PAGE.read_text(encoding="utf-8") == page()
