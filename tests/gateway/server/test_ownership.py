"""How an instance comes by the tasks of those before it, on virtual time."""

import asyncio
from pathlib import Path

import pytest

from gateway.agents.registry import Registry
from gateway.bus.memory import MemoryBus
from gateway.metrics import Metrics
from gateway.server.data_dir import locked
from gateway.server.ownership import Ownership
from gateway.settings import Settings
from gateway.work.dispatcher import Dispatcher
from gateway.work.leases import Told
from sandbox_bridge.pool import Pool
from tests.support.waiting import let_pass
from tests.support.work import LOG, Bench, bench

pytestmark = pytest.mark.looptime


def of(stage: Bench, folder: Path, instance: str) -> tuple[Ownership, Dispatcher]:
    """The right of an instance that has `folder` for itself, and what runs its tasks."""
    settings = Settings(data_dir=folder)
    right = Ownership(settings, stage.store, stage.clock, Told(dict), instance=instance, log=LOG)
    dispatcher = Dispatcher(
        instance=instance,
        holding=right.holding,
        store=stage.store,
        bus=MemoryBus(),
        registry=Registry([]),
        pool=Pool(),
        clock=stage.clock,
        metrics=Metrics(),
        log=LOG,
        running_per_subject=0,
        queue_s=300,
        pause_hold_s=900,
    )
    return right, dispatcher


async def live(right: Ownership, dispatcher: Dispatcher, seconds: float) -> None:
    """Run for so long what goes with a right."""
    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(loop) for loop in right.loops(dispatcher).values()]
        await let_pass(seconds)
        for loop in loops:
            loop.cancel()


async def test_running_time_ends_with_the_process_that_was_alone(tmp_path: Path) -> None:
    """However long nobody is there: the next one counts up to a second before its end, at the earliest."""
    async with bench(tmp_path) as stage:
        with locked(tmp_path):
            former, dispatcher = of(stage, tmp_path, "former")
            task = await stage.running()
            await live(former, dispatcher, 7.5)
        await let_pass(3600)
        with locked(tmp_path):
            heir, dispatcher = of(stage, tmp_path, "heir")
            await heir.begin(dispatcher)
        assert 6500 <= (await stage.row(task.task_id)).ran_ms <= 7500
