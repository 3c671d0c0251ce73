"""After a crash: what the former process owned is put back."""

import asyncio

import pytest

from gateway.tasks import Commit, TaskRecord, TaskStatus, completed, lost
from gateway.wishes import wish_cancel
from gateway.work.recovery import take_orphans
from tests.support.records import NOW_MS
from tests.support.work import LOG, Bench

pytestmark = pytest.mark.looptime


async def test_orphan_waits_for_its_next_attempt(bench: Bench) -> None:
    """Its log says that the instance was lost; others' tasks are left as they are."""
    task = await bench.running()
    waits, done = await bench.pending(), await bench.running()
    done = await bench.store.change_task(done.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    assert await take_orphans(bench.store, bench.clock, log=LOG) == 1
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
    assert await take_orphans(bench.store, bench.clock, log=LOG) == 0


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
