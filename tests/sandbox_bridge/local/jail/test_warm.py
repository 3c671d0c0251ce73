"""Jails that are ready before anybody asks."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_bridge.local.errors import JailError
from sandbox_bridge.local.jail.jail import Jail, JailSize
from sandbox_bridge.local.jail.profile import Profile
from sandbox_bridge.local.jail.warm import WarmJails, warm_jails
from sandbox_bridge.settings import SandboxSettings
from tests.sandbox_bridge.local.jails import run, shell
from tests.sandbox_bridge.local.service import Peer, running_service
from tests.support.processes import children_of, until

SETTINGS = SandboxSettings(warm=2, disk_mb=16)
SIZE = JailSize(disk_mb=16, processes=32)


async def full(jails: WarmJails) -> None:
    """Wait until as many are ready as there should be."""
    await until(lambda: jails.ready == SETTINGS.warm, within_s=10, what="the pool is full")


def pid_of(jail: Jail) -> int:
    """The jail's first process, as the host numbers it."""
    return jail._enclosure.init_pid


def all_processes() -> list[int]:
    """Those of this machine."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


async def test_pool_gives_ready_jails_and_fills_up_again(profile: Profile) -> None:
    """Who takes a jail gets one that was there before, and another takes its place."""
    async with warm_jails(profile, SETTINGS) as jails:
        await full(jails)
        expected = [pid_of(ready.jail) for ready in jails._ready]
        async with jails.take(SIZE) as one, jails.take(SIZE) as two:
            assert jails.ready == 0
            assert [pid_of(one), pid_of(two)] == expected
            assert (await run(one, shell("echo fine"))).stdout == b"fine\n"
            await full(jails)


async def test_empty_pool_makes_one_on_the_spot(profile: Profile) -> None:
    """Nobody waits for the pool."""
    async with (
        warm_jails(profile, SETTINGS.model_copy(update={"warm": 0})) as jails,
        jails.take(SIZE) as jail,
    ):
        assert (await run(jail, shell("echo fine"))).stdout == b"fine\n"


async def test_other_size_is_made_on_the_spot(profile: Profile) -> None:
    """A disk of another size is not in the pool, which stays full."""
    async with warm_jails(profile, SETTINGS) as jails:
        await full(jails)
        async with jails.take(JailSize(disk_mb=3, processes=32)) as jail:
            output = await run(jail, shell("df -m --output=size /work | tail -1"))
            assert jails.ready == SETTINGS.warm
    assert output.stdout.strip() == b"3"


async def test_jail_with_a_network_is_never_a_ready_one(profile: Profile) -> None:
    """Its network comes before its first process may be given anything; without the means there is no such jail."""
    async with warm_jails(profile, SETTINGS) as jails:
        await full(jails)
        with pytest.raises(JailError, match="gives no network"):
            async with jails.take(replace(SIZE, network=True)):
                """Not reached."""
        assert jails.ready == SETTINGS.warm


async def test_limits_are_those_of_the_taker(profile: Profile) -> None:
    """A ready jail holds to the limits of the task that takes it."""
    async with warm_jails(profile, SETTINGS) as jails:
        await full(jails)
        async with jails.take(JailSize(disk_mb=16, processes=5)) as jail:
            output = await run(jail, shell("for n in 1 2 3 4 5 6 7 8; do sleep 9 & done 2>&1 | cat"))
    assert b"fork" in output.stdout + output.stderr


async def test_jail_is_used_once(profile: Profile) -> None:
    """What a task leaves behind is never seen again."""
    async with warm_jails(profile, SETTINGS) as jails:
        for _ in range(4):
            await full(jails)
            async with jails.take(SIZE) as jail:
                output = await run(jail, shell("ls -A /work /tmp; touch /work/mine /tmp/mine"))
                assert output.stdout.split() == [b"/tmp:", b"/work:"]


async def test_dead_one_is_replaced(profile: Profile) -> None:
    """A ready jail that dies is noticed, cleared away, and made anew."""
    async with warm_jails(profile, SETTINGS) as jails:
        await full(jails)
        victims = {pid_of(ready.jail) for ready in jails._ready}
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: jails.ready == 0, within_s=10, what="the deaths are noticed")
        await full(jails)
        assert victims.isdisjoint({pid_of(ready.jail) for ready in jails._ready})
        assert not jails._dead


async def test_stopped_one_is_not_handed_out_twice(profile: Profile) -> None:
    """Many takers at once get a jail each, no two the same."""
    async with warm_jails(profile, SETTINGS) as jails:
        await full(jails)
        together = asyncio.Barrier(6)

        async def take() -> int:
            async with jails.take(SIZE) as jail:
                await together.wait()
                return pid_of(jail)

        assert len(set(await asyncio.gather(*(take() for _ in range(6))))) == 6


@pytest.mark.parametrize("warm", [0, 2])
async def test_ready_jails_are_no_sessions(warm: int) -> None:
    """The service counts sessions, and its pool goes with it."""
    with running_service(SANDBOX_WARM=str(warm)) as service:
        # The watchdog's shell, and for each jail bubblewrap twice and the agent.
        await until(
            lambda: len(children_of(service.process.pid)) == 1 + 3 * warm, within_s=10, what="a full pool"
        )
        async with Peer(service.url) as peer:
            await peer.send({"type": "health_check"})
            assert (await peer.recv())["active_sessions"] == 0
        children = set(children_of(service.process.pid))
    assert not children & set(all_processes())
