"""What a watch makes of what a cage counts."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from sandbox_bridge.local.jail.cages.base import CageError, CageLimits, Usage
from sandbox_bridge.local.session.endings import Ending, stop_ending
from sandbox_bridge.local.session.limits import settle
from sandbox_bridge.local.session.task_clock import TaskClock
from sandbox_bridge.local.session.watch import Watch
from sandbox_bridge.protocol import EndReason, Limits
from sandbox_bridge.settings import SandboxSettings

USED = Usage(cpu_s=1, memory_bytes=1 << 20, oom_kills=2, refused_forks=3)
"""A jail may have been used up a little before its task came."""


class CountedCage:
    """A cage that counts what the test says; `usage` None is a kernel that gives no answer."""

    enforces_memory = True

    def __init__(self) -> None:
        self.counted: Usage | None = USED

    def usage(self) -> Usage:
        """What the test says."""
        if self.counted is None:
            raise CageError("no answer")
        return self.counted

    def set_limits(self, limits: CageLimits) -> None:
        """Nobody is limited."""

    def admit(self, init_pid: int) -> None:
        """Nobody is in."""

    def attach(self, pidfd: int) -> None:
        """Nobody is beside."""

    def check(self, init_pid: int) -> None:
        """Nobody is out."""

    async def freeze(self) -> None:
        """Nobody moves."""

    async def thaw(self) -> None:
        """Nobody stood still."""

    def kill_nowait(self) -> None:
        """Nobody dies."""

    def close(self) -> None:
        """Nothing is left."""


def watch(cage: CountedCage, stop: Callable[[EndReason], None] = lambda _: None, **limits: float) -> Watch:
    """A watch over a task with these limits."""
    return Watch(cage, settle(Limits(**limits), SandboxSettings()), TaskClock(), stop)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "ending", [Ending(None, 0, "exit"), stop_ending("timeout"), Ending("command_failed", 1, "exit")]
)
async def test_kill_for_memory_is_the_reason(ending: Ending) -> None:
    """However a command or its task ended: once the kernel has killed for memory, that is why."""
    cage = CountedCage()
    watching = watch(cage)
    assert watching.judge(ending) == ending
    cage.counted = replace(USED, oom_kills=3)
    assert watching.judge(ending).code == "memory_limit"


async def test_refused_fork_explains_one_failure() -> None:
    """A refusal explains the failure of the command that ran meanwhile, and of no later one."""
    cage = CountedCage()
    watching = watch(cage)
    failed = Ending("command_failed", 1, "exit")
    cage.counted = replace(USED, refused_forks=9)
    assert watching.judge(failed).reason == "processes"
    assert watching.judge(failed) == failed


async def test_kernel_without_an_answer_changes_nothing() -> None:
    """What was counted stays counted while the kernel does not answer, and after."""
    cage = CountedCage()
    watching = watch(cage)
    failed = Ending("command_failed", 1, "exit")
    for counted in (None, USED):
        cage.counted = counted
        assert watching.judge(failed) == failed


async def test_processor_time_counts_from_the_task_on() -> None:
    """What a ready jail used before its task is not the task's."""
    cage, stopped = CountedCage(), asyncio.Queue[EndReason]()
    watching = watch(cage, stopped.put_nowait, cpu_s=2.0)
    cage.counted = replace(USED, cpu_s=2.9)
    looking = asyncio.ensure_future(watching.run(lambda: False))
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stopped.get()
        cage.counted = replace(USED, cpu_s=3.0)
        async with asyncio.timeout(5):
            assert await stopped.get() == "cpu"
    finally:
        looking.cancel()
