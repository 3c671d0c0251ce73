"""Whoever takes more than his share ends with his reason, and the host and the neighbours stay well."""

import errno
from collections.abc import Callable

import pytest

from tests.escapes.attacks import bombs
from tests.escapes.range import Range
from tests.support.bare_client import client

PROCESSES = 24
JAILS_OWN = 4
"""Processes of a jail that are not the attack's: its init and agent, and those two run by the attack's shell."""


@pytest.mark.parametrize("bomb", [bombs.processes, bombs.zombies, bombs.threads])
async def test_processes_are_bounded(attack: Range, bomb: bombs.Counted) -> None:
    """Processes, dead ones that nobody has asked after, and threads: together no more than the limit."""
    outcome = await attack.outcome(bomb, 2000, limits={"processes": PROCESSES})
    count, refusal = outcome.report
    assert count <= PROCESSES + JAILS_OWN
    assert refusal in {"EAGAIN", "RuntimeError"}
    assert await attack.is_left(within_s=2) == []


async def test_fork_bomb_ends_by_its_clock(attack: Range) -> None:
    """While every process of a jail forks for ever, a neighbour is well; then all of them are gone."""
    async with client(attack.url) as bare:
        await bare.greet()
        session_id = await attack.start(bare, bombs.fork_for_ever, limits={"timeout_s": 2})
        await attack.neighbour_is_well()
        _, end = await bare.session(session_id)
    assert end["error_info"]["reason"] in {"timeout", "processes"}
    assert await attack.is_left(within_s=2) == []


async def test_daemons_go_with_their_task(attack: Range) -> None:
    """What has left its group and its session, and ignores signals, is gone with the jail."""
    assert await attack(bombs.daemons, 5) == 5
    assert await attack.is_left(within_s=2) == []


async def test_busy_processors_leave_the_neighbours_theirs(attack: Range) -> None:
    """Eight endless loops slow others down, and stop nobody."""
    async with client(attack.url) as bare:
        await bare.greet()
        session_id = await attack.start(bare, bombs.spin, 8, limits={"timeout_s": 1.5})
        await attack.neighbour_is_well()
        _, end = await bare.session(session_id)
    assert end["error_info"]["reason"] == "timeout"


@pytest.mark.parametrize("folder", ["/work", "/tmp", "/dev/shm"])
async def test_disk_is_bounded(attack: Range, folder: str) -> None:
    """A disk takes what it may and not a byte more, wherever one writes."""
    outcome = await attack.outcome(bombs.disk, folder, 400, limits={"disk_mb": 8})
    count, refusal = outcome.report
    assert (count <= 8, refusal) == (True, "ENOSPC")


async def test_full_disk_fails_the_task_with_its_reason(attack: Range) -> None:
    """A command that fails on a full disk fails the task `resource_limit`, for `disk`."""
    async with client(attack.url) as bare:
        await bare.greet()
        await bare.say("execute_task", "s", commands=["cat /dev/zero > x"], limits={"disk_mb": 4})
        _, end = await bare.session("s")
    assert (end["error_info"]["code"], end["error_info"]["reason"]) == ("resource_limit", "disk")


async def test_sparse_file_takes_nothing(attack: Range) -> None:
    """A file can say that it is as large as it likes."""
    found = await attack(bombs.sparse_file)
    assert found["blocks"] == 0


async def test_deep_tree_goes_with_its_jail(attack: Range) -> None:
    """Ten thousand folders in each other hold up nobody's end."""
    assert await attack(bombs.deep_tree, 10_000) == 10_000
    assert await attack.is_left(within_s=2) == []


@pytest.mark.parametrize("bomb", [bombs.pipes, bombs.watches, bombs.in_flight])
async def test_kernels_tables_are_shared_fairly(attack: Range, bomb: bombs.Counted) -> None:
    """Whoever takes all pipes or watches that he gets leaves enough for a neighbour and his site."""
    async with client(attack.url) as bare:
        await bare.greet()
        session_id = await attack.start_greedy(bare, bomb)
        await attack.neighbour_is_well()
        await attack.neighbour_has_a_site()
        await bare.say("cancel_task", session_id)
        _, end = await bare.session(session_id)
    assert end["error_info"]["code"] == "cancelled"


@pytest.mark.parametrize("stream", [1, 2])
async def test_endless_output_takes_no_memory(attack: Range, stream: int) -> None:
    """Output that nobody has asked for stays a bounded part of the service."""
    before = attack.service_mib()
    outcome = await attack.outcome(bombs.output, stream, limits={"timeout_s": 1, "output_bytes": 1 << 20})
    assert outcome.reason == "timeout"
    assert attack.service_mib() - before < 64


async def test_stolen_output_hangs_nobody(attack: Range) -> None:
    """Who reads his own output back takes nothing but his own output."""
    outcome = await attack.outcome(bombs.steal_output, limits={"timeout_s": 5})
    assert outcome.end["type"] == "task_completed"
    await attack.neighbour_is_well()


async def test_next_commands_output_is_whole(attack: Range) -> None:
    """What one command does to the pipes that all share, the next does not feel."""
    async with client(attack.url) as bare:
        await bare.greet()
        session_id = await attack.start(
            bare, bombs.unsettle_output, then=["seq 20000 | tee copy; wc -c < copy"]
        )
        _, end = await bare.session(session_id)
    assert end["type"] == "task_completed", end
    written = len("".join(f"{number}\n" for number in range(1, 20001)))
    record = end["result"]["commands"][1]
    assert record["stdout"].endswith(f"20000\n{written}\n")


MEMORY: dict[str, tuple[Callable[..., object], list[int]]] = {
    "private": (bombs.memory, [1024]),
    "of many processes": (bombs.memory_of_many, [1024, 8]),
    "shared": (bombs.mapped_memory, [1024]),
    "files without a name": (bombs.memory_files, [1024]),
    "segments": (bombs.segments, [1024]),
    "sockets": (bombs.sockets, [1024]),
    "pipes": (bombs.filled_pipes, [512, 16]),
}


UNSEEN = {"files without a name", "segments"}


@pytest.mark.parametrize("name", MEMORY)
async def test_memory_is_bounded(attack: Range, name: str) -> None:
    """Whoever fills memory, of whatever kind, fails his task for `memory`, and his neighbours have theirs.

    Where memory is only watched, what no process is seen to hold is not to be had at all.
    """
    bomb, arguments = MEMORY[name]
    outcome = await attack.outcome(bomb, *arguments, limits={"memory_mb": 96, "timeout_s": 15})
    if name not in UNSEEN or outcome.code != "command_failed":
        assert (outcome.code, outcome.reason) == ("memory_limit", "memory"), outcome.end
    else:
        assert f"[Errno {errno.ENOSYS}]" in outcome.stderr
    assert await attack.is_left(within_s=2) == []
    await attack.neighbour_is_well()


async def test_silent_kill_for_memory_is_told(attack: Range) -> None:
    """A pipeline whose middle was killed for memory exits 0, and fails the task all the same."""
    outcome = await attack.outcome(bombs.in_a_pipeline, limits={"memory_mb": 96, "timeout_s": 15})
    assert (outcome.code, outcome.reason) == ("memory_limit", "memory"), outcome.end


async def test_empty_files_are_bounded(attack: Range) -> None:
    """A file without a byte costs the host a KiB: so many of them are memory, too."""
    outcome = await attack.outcome(bombs.inodes, 400_000, limits={"memory_mb": 96, "timeout_s": 15})
    assert outcome.reason in {"memory", "disk"} or outcome.report[1] == "ENOSPC", outcome.end
