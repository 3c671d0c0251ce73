"""One attempt: however its agent ends, the task's row and log say the right thing, once."""

import asyncio
from typing import Any

import pytest

from gateway.agents.runner import PlaceLostError, RunContext, TaskCancelledError, TaskFailedError
from gateway.state.values import Append
from gateway.task_changes import lost
from gateway.tasks import (
    Desire,
    Outcome,
    TaskRecord,
    TaskStatus,
)
from gateway.wishes import wish_cancel
from gateway.work.run import MAX_BACK_OFF_MS, Run
from tests.support.agents import agent_that
from tests.support.records import NOW_MS, fence_of, output
from tests.support.waiting import held_by_another, let_pass
from tests.support.work import LOG, Bench

pytestmark = pytest.mark.looptime

HOLD_S = 900.0


def run_of(bench: Bench, task: TaskRecord, does: Any) -> Run:
    """The run of a task by an agent that does this."""
    return Run(
        task,
        agent_that(does),
        bridge=None,
        store=bench.store,
        clock=bench.clock,
        hold_s=HOLD_S,
        on_change=lambda: None,
        log=LOG,
    )


async def executed(bench: Bench, does: Any, **fields: Any) -> TaskRecord:
    """A task's row after one attempt of an agent that does this."""
    task = await bench.running(**fields)
    await run_of(bench, task, does).execute()
    return await bench.row(task.task_id)


def raising(error: BaseException) -> Any:
    """An agent that ends by raising."""

    async def run(_context: RunContext) -> dict[str, Any]:
        raise error

    return run


async def quiet(_context: RunContext) -> dict[str, Any]:
    """An agent that never ends."""
    await asyncio.Event().wait()
    return {}


async def test_run_whose_journal_has_failed_ends_though_its_agent_says_nothing_more(bench: Bench) -> None:
    """A sandbox may be held back until what it said is durable, which it never will be."""

    async def speaks_once(context: RunContext) -> dict[str, Any]:
        await context.emit(output("x"))
        return await quiet(context)

    task = await bench.running()
    await bench.store.append(fence_of(task), Append([output("another's")]))
    async with asyncio.timeout(60):
        assert await run_of(bench, task, speaks_once).execute() is None
    assert (await bench.last(task.task_id))["text"] == "another's"


async def told_to_stop(context: RunContext) -> dict[str, Any]:
    """An agent that ends when it is told to."""
    await context.emit(output("begun"))
    await context.cancel_wanted.wait()
    raise TaskCancelledError


# --- its ends -------------------------------------------------------------------------------------------


async def test_result_completes_the_task(bench: Bench) -> None:
    """What the agent said comes first, then the one last event with the result."""

    async def speak(context: RunContext) -> dict[str, Any]:
        await context.emit(output("hello"))
        return {"input": context.input, "left": context.time_left_s}

    row = await executed(bench, speak, given={"a": 1}, timeout_s=60)
    result = {"input": {"a": 1}, "left": 60.0}
    assert (row.status, row.owner) == (TaskStatus.COMPLETED, None)
    assert await bench.store.get_outcome(row.task_id) == Outcome(result=result)
    log = await bench.log(row.task_id)
    assert [event["event"] for event in log] == ["status", "status", "output", "status"]
    assert log[-1]["data"] == {
        "status": "completed",
        "previous": "running",
        "attempt": 1,
        "result": result,
    }


async def test_running_time_of_earlier_attempts_is_taken_off(bench: Bench) -> None:
    """`timeout_s` counts over all attempts; a task that has used it up has next to nothing left."""
    task = await bench.running(timeout_s=60, ran_ms=20_000)
    assert run_of(bench, task, quiet).time_left_s == 40
    late = await bench.running(timeout_s=60, ran_ms=70_000)
    assert 0 < run_of(bench, late, quiet).time_left_s < 0.01


async def test_failure_of_the_agents_own_fails_the_task(bench: Bench) -> None:
    """Code, message and details are the error; there is no other attempt."""
    row = await executed(bench, raising(TaskFailedError("timeout", "too long", exit_code=None)))
    assert row.status is TaskStatus.FAILED
    error = {"code": "timeout", "message": "too long", "details": {"exit_code": None}}
    assert await bench.store.get_outcome(row.task_id) == Outcome(error=error)
    assert (await bench.last(row.task_id))["error"] == error


async def test_bug_of_an_agent_is_an_agent_error(bench: Bench) -> None:
    """Its class is named; what it says may hold secrets, and stays in our log."""
    row = await executed(bench, raising(RuntimeError("password: hunter2")))
    error = (await bench.store.get_outcome(row.task_id)).error
    assert error is not None
    assert (row.status, error["code"]) == (TaskStatus.FAILED, "agent_error")
    assert "RuntimeError" in error["message"]
    assert "hunter2" not in str(error)


async def test_agent_that_cancels_itself_has_failed(bench: Bench) -> None:
    """Only a run that was given back runs again; an agent's own CancelledError is a bug of its own."""
    row = await executed(bench, raising(asyncio.CancelledError()))
    assert (await bench.store.get_outcome(row.task_id)).error is not None
    assert row.status is TaskStatus.FAILED


@pytest.mark.parametrize("said", [{"n": 2**70}, {"n": {1}}, {"s": "\ud800"}])
async def test_result_that_is_no_json_ends_the_task_all_the_same(bench: Bench, said: Any) -> None:
    """A sandbox may give any result; its task ends."""

    async def run(_context: RunContext) -> dict[str, Any]:
        return {"status": "completed", **said}

    row = await executed(bench, run)
    assert row.status is TaskStatus.COMPLETED
    assert (await bench.last(row.task_id))["result"] == {"status": "completed", "truncated": True}


async def test_wish_to_cancel_reaches_the_agent_when_it_is_rung(bench: Bench) -> None:
    """The wish is read from the row; the last event says who wished it and why."""
    task = await bench.running()
    run = run_of(bench, task, told_to_stop)
    executing = asyncio.ensure_future(run.execute())
    await let_pass(10)
    assert not run.cancel_wanted.is_set()
    await bench.store.change_task(
        task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob", reason="enough")
    )
    run.ring()
    await executing
    assert await bench.last(task.task_id) == {
        "status": "cancelled",
        "previous": "running",
        "attempt": 1,
        "by": "bob",
        "reason": "enough",
    }


async def test_wish_from_before_the_run_is_seen_at_its_start(bench: Bench) -> None:
    """Nobody has to ring for what the row says already."""
    task = await bench.running()
    await bench.store.change_task(task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob"))
    await run_of(bench, task, told_to_stop).execute()
    assert (await bench.row(task.task_id)).status is TaskStatus.CANCELLED


async def test_ring_without_a_wish_changes_nothing(bench: Bench) -> None:
    """A doorbell is no order."""
    task = await bench.running()
    run = run_of(bench, task, quiet)
    executing = asyncio.ensure_future(run.execute())
    run.ring()
    await let_pass(10)
    assert not run.cancel_wanted.is_set()
    run.give_back()
    await executing


async def test_result_after_the_wish_to_cancel_is_thrown_away(bench: Bench) -> None:
    """Whoever was told that the cancel is durable finds the task cancelled, whatever its agent still gives."""
    task = await bench.running()

    async def finish(context: RunContext) -> dict[str, Any]:
        await context.cancel_wanted.wait()
        return {"done": True}

    await bench.store.change_task(task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob"))
    await run_of(bench, task, finish).execute()
    row = await bench.row(task.task_id)
    assert (row.status, row.desire) == (TaskStatus.CANCELLED, Desire.CANCEL)


# --- places lost ----------------------------------------------------------------------------------------


async def test_lost_place_waits_for_the_next_attempt(bench: Bench) -> None:
    """The task is pending again, with the reason, its attempt counted, not before a while."""
    row = await executed(bench, raising(PlaceLostError("sandbox_lost", "gone")))
    assert (row.status, row.uncounted) == (TaskStatus.PENDING, 0)
    assert NOW_MS < row.not_before <= NOW_MS + MAX_BACK_OFF_MS
    assert (await bench.last(row.task_id))["reason"] == "sandbox_lost"


async def test_back_off_grows_to_its_limit_and_is_spread(bench: Bench) -> None:
    """Later attempts wait longer, never more than the limit, and not all the same."""
    waits: dict[int, list[int]] = {}
    for attempt in (1, 3, 8):
        for _ in range(12):
            row = await executed(
                bench, raising(PlaceLostError("sandbox_lost", "gone")), attempt=attempt - 1, max_attempts=99
            )
            waits.setdefault(attempt, []).append(row.not_before - NOW_MS)
    assert max(waits[1]) <= 500
    assert max(waits[3]) <= 2000
    assert max(waits[8]) <= MAX_BACK_OFF_MS
    assert min(waits[8]) >= MAX_BACK_OFF_MS * 0.2
    assert all(len(set(found)) > 6 for found in waits.values())


async def test_last_attempt_lost_ends_the_task(bench: Bench) -> None:
    """After `max_attempts` the error is the place's."""
    row = await executed(bench, raising(PlaceLostError("sandbox_lost", "gone")), attempt=2, max_attempts=3)
    error = (await bench.store.get_outcome(row.task_id)).error
    assert error is not None
    assert (row.status, error["code"]) == (TaskStatus.FAILED, "sandbox_lost")


async def test_busy_sandbox_does_not_count(bench: Bench) -> None:
    """A sandbox without room costs no attempt, be it the only one allowed."""
    row = await executed(bench, raising(PlaceLostError("busy", "full")), max_attempts=1)
    assert (row.status, row.attempt, row.uncounted) == (TaskStatus.PENDING, 1, 1)


async def test_run_that_is_given_back_waits_uncounted(bench: Bench) -> None:
    """A drain stops the agent, keeps what it said, and lets another instance go on at once."""
    task = await bench.running(max_attempts=1)
    run = run_of(bench, task, told_to_stop)
    executing = asyncio.ensure_future(run.execute())
    await let_pass(1)
    run.give_back()
    await executing
    row = await bench.row(task.task_id)
    assert (row.status, row.owner, row.uncounted) == (TaskStatus.PENDING, None, 1)
    assert row.not_before <= NOW_MS + 1000
    assert [event["event"] for event in await bench.log(task.task_id)][-2:] == ["output", "status"]
    assert (await bench.last(task.task_id))["reason"] == "drain"


async def test_run_that_is_given_back_before_it_began_waits_uncounted(bench: Bench) -> None:
    """A drain that comes between the claim and the agent's first step costs no attempt either."""
    task = await bench.running(max_attempts=1)
    run = run_of(bench, task, quiet)
    run.give_back()
    await run.execute()
    row = await bench.row(task.task_id)
    assert (row.status, row.owner, row.uncounted) == (TaskStatus.PENDING, None, 1)


# --- fences and failures of ours ------------------------------------------------------------------------


async def test_run_that_lost_its_lease_writes_nothing_more(bench: Bench) -> None:
    """A zombie stops without a word: the log is its successor's."""
    task = await bench.running()
    taken = asyncio.Event()

    async def outlive(context: RunContext) -> dict[str, Any]:
        await taken.wait()
        await context.emit(output("zombie"))
        return {"zombie": True}

    executing = asyncio.ensure_future(run_of(bench, task, outlive).execute())
    await let_pass(1)
    await bench.store.change_task(task.task_id, lambda row: lost(row, "instance_lost", now_ms=NOW_MS))
    second = await bench.claim(task.task_id, "instance-2")
    await bench.store.append(fence_of(second), Append([output("mine")]))
    taken.set()
    await executing
    row = await bench.row(task.task_id)
    assert (row.status, row.owner, row.last_seq) == (TaskStatus.RUNNING, "instance-2", 5)
    assert "zombie" not in str(await bench.log(task.task_id))


async def test_run_that_lost_its_lease_in_silence_ends_nothing(bench: Bench) -> None:
    """A zombie that has said nothing meanwhile learns it when it writes its end, which is refused."""
    task = await bench.running()
    taken = asyncio.Event()

    async def outlive(_context: RunContext) -> dict[str, Any]:
        await taken.wait()
        return {"zombie": True}

    executing = asyncio.ensure_future(run_of(bench, task, outlive).execute())
    await let_pass(1)
    await bench.store.change_task(task.task_id, lambda row: lost(row, "instance_lost", now_ms=NOW_MS))
    second = await bench.claim(task.task_id, "instance-2")
    taken.set()
    await executing
    assert await bench.row(task.task_id) == second


async def test_run_that_is_cancelled_itself_writes_nothing(bench: Bench) -> None:
    """Ended from outside it is as if the process had died: whoever takes up orphans goes on."""
    task = await bench.running()
    executing = asyncio.ensure_future(run_of(bench, task, quiet).execute())
    await let_pass(1)
    executing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await executing
    await let_pass(1)
    assert await bench.row(task.task_id) == task


async def test_end_is_written_when_the_store_is_back(bench: Bench) -> None:
    """An unreachable store delays the end and does not lose it."""
    task = await bench.running()

    async def run(_context: RunContext) -> dict[str, Any]:
        await let_pass(1)
        return {"done": True}

    executing = asyncio.ensure_future(run_of(bench, task, run).execute())
    with held_by_another(bench.store):
        await let_pass(60)
        assert not executing.done()
    await executing
    assert (await bench.row(task.task_id)).status is TaskStatus.COMPLETED


async def test_event_that_is_too_large_is_an_agent_error(bench: Bench) -> None:
    """What an agent may not say fails its task, with what it said before."""

    async def shout(context: RunContext) -> dict[str, Any]:
        await context.emit(output("before"))
        await context.emit(output("x" * (600 << 10)))
        return {}

    row = await executed(bench, shout)
    error = (await bench.store.get_outcome(row.task_id)).error
    assert error is not None
    assert error["code"] == "agent_error"
    assert [event["event"] for event in await bench.log(row.task_id)] == [
        "status",
        "status",
        "output",
        "status",
    ]
