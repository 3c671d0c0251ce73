"""A task's own time."""

import asyncio

import pytest

from sandbox_bridge.local.session.task_clock import TaskClock
from tests.support.waiting import let_pass


@pytest.mark.looptime
async def test_time_stands_still_with_the_task() -> None:
    """What passes between a stop and the next start does not count, however often they come."""
    clock = TaskClock()
    await let_pass(1)
    clock.stop()
    clock.stop()
    await let_pass(10)
    assert clock.now() == pytest.approx(1)
    clock.go_on()
    clock.go_on()
    await let_pass(2)
    assert clock.now() == pytest.approx(3)


@pytest.mark.looptime
async def test_bound_moves_with_the_time() -> None:
    """A block has its seconds of the task's time, also one that begins while that stands still."""
    clock, loop = TaskClock(), asyncio.get_running_loop()
    began = loop.time()
    clock.stop()
    loop.call_later(5, clock.go_on)
    loop.call_later(6, clock.stop)
    loop.call_later(10, clock.go_on)
    with pytest.raises(TimeoutError):
        async with clock.timeout(3):
            await asyncio.Event().wait()
    assert loop.time() - began == pytest.approx(12)


@pytest.mark.looptime
async def test_block_can_be_ended_early_and_while_time_stands_still() -> None:
    """Who is told to stop does so at once; a second word changes nothing."""
    clock, loop = TaskClock(), asyncio.get_running_loop()
    clock.stop()
    with pytest.raises(TimeoutError):
        async with clock.timeout(None) as bound:
            loop.call_later(1, clock.expire, bound)
            loop.call_later(1, clock.expire, bound)
            loop.call_later(1, clock.go_on)
            await asyncio.Event().wait()
    assert loop.time() < 2
