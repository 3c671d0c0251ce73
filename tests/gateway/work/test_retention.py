"""The sweep: what the settings say is not kept goes, and the metrics show what is left."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.task_changes import completed
from gateway.tasks import TaskRecord
from gateway.work.retention import SETTLED_S, SWEEP_S, sweep
from tests.support.waiting import held_by_another, let_pass
from tests.support.work import LOG, Bench

pytestmark = pytest.mark.looptime


@contextlib.asynccontextmanager
async def swept(bench: Bench, **settings: Any) -> AsyncIterator[Metrics]:
    """Inside the block the sweep goes on; its metrics."""
    metrics = Metrics()
    sweeping = asyncio.ensure_future(
        sweep(bench.store, bench.clock, metrics, Settings(_env_file=None, **settings), log=LOG)
    )
    try:
        await let_pass(1)
        yield metrics
        assert not sweeping.done()
    finally:
        sweeping.cancel()
        await asyncio.wait([sweeping])


async def ended(bench: Bench, **fields: Any) -> TaskRecord:
    """A task that has just ended."""
    task = await bench.running(**fields)
    now_ms = bench.clock.now_ms()
    return await bench.store.change_task(task.task_id, lambda row: completed(row, {}, now_ms=now_ms))


async def there(bench: Bench, task: TaskRecord) -> tuple[bool, bool]:
    """Whether the task is there, and whether its log is whole."""
    row = await bench.store.get_task(task.task_id)
    return row is not None, row is not None and row.first_seq == 1


async def test_task_first_loses_its_log_and_then_goes(bench: Bench) -> None:
    """Each after the time that the settings give it; counted once it is gone."""
    task = await ended(bench)
    async with swept(bench, retention_s=600, task_retention_s=1200) as metrics:
        await let_pass(600)
        assert await there(bench, task) == (True, True)
        await let_pass(SWEEP_S)
        assert await there(bench, task) == (True, False)
        await let_pass(600)
        assert await there(bench, task) == (False, False)
        assert b"gateway_tasks_forgotten_total 1.0" in metrics.render()


async def test_what_is_kept_for_seconds_goes_after_seconds(bench: Bench) -> None:
    """A log of 5 s is not kept for the minute that lies between looks at those of days."""
    async with swept(bench, retention_s=5):
        task = await ended(bench)
        await let_pass(4)
        assert await there(bench, task) == (True, True)
        await let_pass(6)
        assert await there(bench, task) == (True, False)


async def test_full_store_waits_for_whoever_waited_for_a_task(bench: Bench) -> None:
    """However full it is, a task stays for some minutes after its end, and nothing goes that runs."""
    task, goes_on = await ended(bench), await bench.running()
    async with swept(bench, retention_bytes=1):
        await let_pass(SETTLED_S - SWEEP_S)
        assert await there(bench, task) == (True, True)
        await let_pass(2 * SWEEP_S)
        assert await there(bench, task) == (False, False)
        assert await there(bench, goes_on) == (True, True)


async def test_limits_can_be_turned_off(bench: Bench) -> None:
    """0 bytes are no limit."""
    task = await ended(bench)
    async with swept(bench, retention_bytes=0):
        await let_pass(2 * SETTLED_S)
        assert await there(bench, task) == (True, True)


async def test_sweep_outlives_a_store_that_is_away(bench: Bench) -> None:
    """It looks again a minute later, and shows what the store takes."""
    task = await ended(bench)
    await let_pass(1)
    async with swept(bench, retention_s=0) as metrics:
        assert await there(bench, task) == (True, False)
        shown = metrics.registry.get_sample_value
        assert (shown("gateway_store_bytes") or 0) > (shown("gateway_store_free_bytes") or 0) >= 0
        with held_by_another(bench.store):
            await let_pass(SWEEP_S)
        later = await ended(bench)
        await let_pass(1)
        await let_pass(SWEEP_S)
        assert await there(bench, later) == (True, False)
