"""A timer that can stand still, on virtual time."""

import asyncio

import pytest

from sandbox_bridge.countdown import Countdown
from tests.support.task_script import elapse

pytestmark = pytest.mark.looptime


async def test_only_the_time_that_it_runs_counts() -> None:
    """Standing still, also twice, takes nothing from what is left."""
    loop = asyncio.get_running_loop()
    fired: list[float] = []
    countdown = Countdown()
    countdown.start(10, lambda: fired.append(loop.time()))
    began_at = loop.time()
    await elapse(4)
    countdown.stand_still()
    countdown.stand_still()
    await elapse(100)
    countdown.go_on()
    countdown.go_on()
    await elapse(100)
    assert fired == [pytest.approx(began_at + 110)]


async def test_what_is_stopped_or_replaced_never_comes() -> None:
    """One callback at most is to come, and none after `stop`, whatever is called then."""
    fired: list[str] = []
    countdown = Countdown()
    countdown.start(1, lambda: fired.append("first"))
    countdown.start(2, lambda: fired.append("second"))
    await elapse(5)
    countdown.start(1, lambda: fired.append("third"))
    countdown.stop()
    countdown.go_on()
    await elapse(5)
    assert fired == ["second"]
