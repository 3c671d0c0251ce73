"""A limit holds however it is run into, and its reason is told, also where every exit code was 0."""

import time

import pytest

from sandbox_bridge.local.session.watch import PACE_S
from tests.escapes.range import Range
from tests.support.bare_client import Frame, client

MEMORY_MB = 64
HOG = 'python3 -c "x = bytearray(400 << 20); import time; time.sleep(3)"'


async def end_of(attack: Range, *commands: str, **limits: object) -> Frame:
    """How a task with these limits ended."""
    async with client(attack.url) as bare:
        await bare.greet()
        await bare.say("execute_task", "s", commands=list(commands), limits=limits)
        _, end = await bare.session("s")
    return end


def told(end: Frame) -> tuple[str, str]:
    """The code and the reason of a failed task."""
    assert end["type"] == "task_error", end
    return end["error_info"]["code"], end["error_info"]["reason"]


async def test_disks_are_memory(attack: Range) -> None:
    """What is written counts as memory: disks that are large enough do not take more than that."""
    fill = "; ".join(f"head -c 60M /dev/zero > {folder}/x" for folder in ("/work", "/tmp", "/dev/shm"))
    end = await end_of(attack, f"{fill}; sleep 1", memory_mb=MEMORY_MB, disk_mb=64, timeout_s=15)
    assert told(end) == ("memory_limit", "memory")
    assert await attack.is_left(within_s=2) == []


@pytest.mark.parametrize(
    "command",
    [f"{HOG} | cat", f"{HOG} || true", f"({HOG}) & wait; exit 0"],
    ids=["pipeline", "caught", "background"],
)
async def test_kill_for_memory_is_told_of_whatever_the_exit_code(attack: Range, command: str) -> None:
    """A command that hides the kill of one of its processes fails its task all the same."""
    end = await end_of(attack, command, "echo never", memory_mb=MEMORY_MB, timeout_s=15)
    assert told(end) == ("memory_limit", "memory")
    assert len(end["error_info"]["result"]["commands"]) == 1


async def test_kill_for_memory_ends_a_task_that_goes_on(attack: Range) -> None:
    """A task does not run on without those who were killed: it ends with the next two looks of its watch.

    Beside what a task takes that ends of the kill itself, here and now.
    """
    began = time.monotonic()
    assert told(await end_of(attack, HOG, memory_mb=MEMORY_MB)) == ("memory_limit", "memory")
    alone_s, began = time.monotonic() - began, time.monotonic()
    end = await end_of(attack, f"{HOG} & sleep 30", memory_mb=MEMORY_MB)
    assert told(end) == ("memory_limit", "memory")
    assert time.monotonic() - began < 2 * alone_s + 2 * PACE_S


async def test_processor_time_is_bounded(attack: Range) -> None:
    """The time of all processes counts together."""
    began = time.monotonic()
    spin = "python3 -c 'while True: pass'"
    end = await end_of(attack, f"{spin} & {spin} & {spin}; wait", cpu_s=1, timeout_s=20)
    assert told(end) == ("resource_limit", "cpu")
    assert time.monotonic() - began < 10
    assert await attack.is_left(within_s=2) == []


async def test_idle_task_is_ended(attack: Range) -> None:
    """A task that says nothing has its time, whatever signals it ignores."""
    end = await end_of(attack, "trap '' TERM; echo x; while :; do sleep 0.1; done", idle_s=0.5)
    assert told(end) == ("timeout", "idle")
    assert await attack.is_left(within_s=2) == []


async def test_refused_process_is_the_reason(attack: Range) -> None:
    """A command that fails for want of one more process says so."""
    end = await end_of(attack, "for n in $(seq 60); do sleep 5 & done; wait", processes=20, timeout_s=15)
    assert told(end) == ("resource_limit", "processes")
