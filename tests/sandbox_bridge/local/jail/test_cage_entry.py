"""A jail starts while its cage still takes it in; nothing of a task is in there before all of it is held."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace

import pytest

from sandbox_bridge.local.errors import JailError
from sandbox_bridge.local.jail.cages.cage import JailCage, MeansOf
from sandbox_bridge.local.jail.cages.finder import Cages, find_cages
from sandbox_bridge.local.jail.profile import Profile
from tests.sandbox_bridge.local.jail.cages.cell import left_behind
from tests.sandbox_bridge.local.jails import open_jail, run, shell
from tests.support.processes import children_of, until


class OpenCage(JailCage):
    """A cage that takes nobody in, and does not say so."""

    def admit(self, init_pid: int) -> None:
        """All went well."""


class SlowCage(JailCage):
    """A cage on a kernel that takes its time until it is told to go on."""

    def __init__(self, means: MeansOf) -> None:
        super().__init__(means, enforces_memory=True)
        self.may_go_on = threading.Event()
        self.said: list[str] = []

    def admit(self, init_pid: int) -> None:
        """Later."""
        self.said.append("begins")
        self.may_go_on.wait(10)
        super().admit(init_pid)
        self.said.append("has taken in")

    def close(self) -> None:
        """As any other."""
        super().close()
        self.said.append("is closed")


@pytest.fixture
async def cages() -> AsyncIterator[Cages]:
    """What this machine has."""
    cages = await find_cages(counts_processes=True)
    with closing(cages):
        yield cages


async def test_jail_that_is_not_held_is_given_up(profile: Profile, cages: Cages) -> None:
    """Where a process of a new jail is not in its control groups, no task is let in."""

    def make_open_cage() -> OpenCage:
        return OpenCage(cages.make()._means, enforces_memory=True)  # type: ignore[attr-defined]

    with pytest.raises(JailError, match="not in its control groups"):
        async with open_jail(replace(profile, make_cage=make_open_cage)):
            pass


async def test_command_finds_all_of_its_jail_held(profile: Profile) -> None:
    """Agent and commands are held from the first command on, whichever came first, the agent or the cage."""
    for _ in range(10):
        async with open_jail(profile) as jail:
            assert jail.cage is not None
            assert (await run(jail, shell("exit 3"))).exit_code == 3
            await jail.start(shell("sleep 60"))
            init_pid = jail._enclosure.init_pid
            await until(lambda pid=init_pid: len(children_of(pid)) >= 2, within_s=5, what="a command")  # type: ignore[misc]
            assert all(means.holds({init_pid, *children_of(init_pid)}) for means in jail.cage._means.each())  # type: ignore[attr-defined]


@pytest.mark.parametrize("patience_s", [0, 0.5], ids=["agent starts", "agent is ready"])
async def test_cage_is_not_closed_while_it_takes_a_jail_in(
    profile: Profile, cages: Cages, patience_s: float
) -> None:
    """A start that is given up waits for its admission: later the number might be another process's."""
    cage = SlowCage(cages.make()._means)  # type: ignore[attr-defined]
    opening = asyncio.create_task(_open(replace(profile, make_cage=lambda: cage)))
    await until(lambda: cage.said == ["begins"], within_s=10, what="an admission")
    await asyncio.wait([opening], timeout=patience_s)
    opening.cancel()
    await asyncio.wait([opening], timeout=0.2)
    assert cage.said == ["begins"]
    cage.may_go_on.set()
    await asyncio.wait([opening], timeout=10)
    assert cage.said == ["begins", "has taken in", "is closed"]


@pytest.mark.parametrize("step_ms", [1, 3])
async def test_start_can_be_given_up_at_any_moment(profile: Profile, cages: Cages, step_ms: int) -> None:
    """However far it has come, nothing of it is left: no process, and no control group."""
    caged = replace(profile, make_cage=cages.make)
    for step in range(12):
        opening = asyncio.create_task(_open(caged))
        await asyncio.wait([opening], timeout=step * step_ms / 1000)
        opening.cancel()
        await asyncio.wait([opening])
    folders = [folder for folder in cages._folders.values() if folder is not None]
    await until(lambda: not any(map(left_behind, folders)), within_s=5, what="empty control groups")


async def _open(profile: Profile) -> None:
    async with open_jail(profile):
        await asyncio.Event().wait()
