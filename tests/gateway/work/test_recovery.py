"""After a crash: what the former process owned is put back."""

import asyncio
import dataclasses
from functools import partial

import pytest

from gateway.errors import LeaseLostError
from gateway.state.values import Append
from gateway.task_changes import claimed, completed, lost
from gateway.tasks import Commit, TaskRecord, TaskStatus
from gateway.wishes import wish_cancel
from gateway.work.recovery import take_orphans
from tests.support.records import NOW_MS, fence_of, output
from tests.support.waiting import let_pass
from tests.support.work import LOG, Bench

pytestmark = pytest.mark.looptime


async def test_orphan_waits_for_its_next_attempt(bench: Bench) -> None:
    """Its log says that the instance was lost; others' tasks are left as they are."""
    task = await bench.running()
    waits, done = await bench.pending(), await bench.running()
    done = await bench.store.change_task(done.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    assert await take_orphans(bench.store, bench.clock, log=LOG) == []
    row = await bench.row(task.task_id)
    assert (row.status, row.owner, row.attempt, row.uncounted) == (TaskStatus.PENDING, None, 1, 0)
    assert await bench.last(task.task_id) == {
        "status": "pending",
        "previous": "running",
        "attempt": 1,
        "reason": "instance_lost",
    }
    assert await bench.row(waits.task_id) == waits
    assert await bench.row(done.task_id) == done
    before = await bench.log(task.task_id)
    assert await take_orphans(bench.store, bench.clock, log=LOG) == []
    assert await bench.log(task.task_id) == before


async def test_time_in_which_nobody_was_there_is_no_running_time(bench: Bench) -> None:
    """A timeout counts up to the last sign of the dead owner, or to what it did last; a night without it takes none."""
    task = await bench.running()
    heard_ms = bench.clock.now_ms() + 2000
    await let_pass(36_000)
    await take_orphans(bench.store, bench.clock, heard_ms=heard_ms, log=LOG)
    assert (await bench.row(task.task_id)).ran_ms == 2000
    task = await bench.running()
    await take_orphans(bench.store, bench.clock, heard_ms=0, log=LOG)
    row = await bench.row(task.task_id)
    assert task.running_since is not None
    assert row.ran_ms == task.updated_at - task.running_since


async def test_orphan_on_its_last_attempt_has_failed(bench: Bench) -> None:
    """The error is `instance_lost`."""
    task = await bench.running(max_attempts=1)
    await take_orphans(bench.store, bench.clock, log=LOG)
    error = (await bench.store.get_outcome(task.task_id)).error
    assert error is not None
    assert error["code"] == "instance_lost"


async def test_orphan_that_was_to_be_cancelled_is(bench: Bench) -> None:
    """The wish outlives its owner and takes effect with the takeover."""
    task = await bench.running()
    await bench.store.change_task(
        task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob", reason="enough")
    )
    await take_orphans(bench.store, bench.clock, log=LOG)
    assert (await bench.row(task.task_id)).status is TaskStatus.CANCELLED
    assert (await bench.last(task.task_id))["by"] == "bob"


async def test_orphan_that_can_be_gone_on_with_is(bench: Bench) -> None:
    """It has another owner and is in the same attempt: its log has nothing to tell of. The dead one's write fails."""
    place = {"address": "ws://a", "boot_id": "b", "session_id": "s"}
    waits = await bench.pending()
    claim = partial(claimed, owner="dead", sandbox_id="box", now_ms=NOW_MS, place=place)
    task = await bench.store.change_task(waits.task_id, claim)
    other, log = await bench.running(), await bench.log(waits.task_id)

    def goes_on(row: TaskRecord) -> bool:
        return row.task_id == task.task_id

    (taken,) = await take_orphans(bench.store, bench.clock, owner="heir", goes_on=goes_on, log=LOG)
    assert taken == dataclasses.replace(task, owner="heir", updated_at=taken.updated_at)
    assert await bench.log(task.task_id) == log
    with pytest.raises(LeaseLostError):
        await bench.store.append(fence_of(task), Append([output("zombie")]))
    await bench.store.append(fence_of(taken), Append([output("x")]))
    assert (await bench.row(other.task_id)).status is TaskStatus.PENDING


async def test_orphan_that_was_taken_up_in_between_is_left_alone(bench: Bench) -> None:
    """What another has put back is not put back again, and does not keep the rest from it."""
    tasks = [await bench.running() for _ in range(3)]
    changing: list[asyncio.Future[TaskRecord]] = []

    def put_back_the_second(_commit: Commit) -> None:
        bench.store.on_commit = lambda _commit: None
        second = next(task for task in tasks if task.task_id == order[1])
        change = bench.store.change_task(second.task_id, lambda row: lost(row, "drain", now_ms=NOW_MS))
        changing.append(asyncio.ensure_future(change))

    order = [task.task_id for task in await bench.store.owned_tasks()]
    bench.store.on_commit = put_back_the_second
    await take_orphans(bench.store, bench.clock, log=LOG)
    await asyncio.gather(*changing)
    reasons = [(await bench.last(task_id))["reason"] for task_id in order]
    assert reasons == ["instance_lost", "drain", "instance_lost"]
