"""What can befall a fleet. Each fault lasts for a while, is mended, and says whether it has really happened.

A fault is *shown* by who suffered it: the proxy counts what it held up, the kernel says that a process stands still,
Redis counts what it refused, PostgreSQL's log tells of its recovery.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final

from tests.support.fleet import Fleet, Instance
from tests.support.processes import is_stopped
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, let_pass

Fault = Callable[[Fleet, Instance, float], Awaitable[bool]]
"""Befalls the fleet, or an instance of it, for so many seconds; whether it happened."""
LONG_WAY_S: Final = 0.05
RETRANSMITTED_S: Final = 0.3
LOST_SHARE: Final = 0.1
BEYOND_THE_LEASE_S: Final = 15.0
"""Longer than `GATEWAY_TAKEOVER_S`."""


# --- the network between an instance and its servers -----------------------------------------------------------


def network(change: Callable[[Proxy], None], *ways: str, shown_by: str) -> Fault:
    """A fault of an instance's `ways` (`redis`, `postgres`), and what of a proxy's counts shows it."""

    async def fault(_fleet: Fleet, instance: Instance, seconds: float) -> bool:
        proxies: list[Proxy] = [getattr(instance, way) for way in ways]
        before = [proxy.hits[shown_by] for proxy in proxies]
        for proxy in proxies:
            change(proxy)
        await let_pass(seconds)
        for proxy in proxies:
            proxy.flow()
        return all(proxy.hits[shown_by] > then for proxy, then in zip(proxies, before, strict=True))

    return fault


def _cut(proxy: Proxy) -> None:
    proxy.refuses = True
    proxy.cut_all()


def _long(proxy: Proxy) -> None:
    proxy.delay(LONG_WAY_S)


def _lossy(proxy: Proxy) -> None:
    proxy.delay(RETRANSMITTED_S, share=LOST_SHARE)


# --- Redis -----------------------------------------------------------------------------------------------------


async def redis_killed(fleet: Fleet, _instance: Instance, seconds: float) -> bool:
    """Killed with -9, and started empty."""
    run_id = re.search(rb"run_id:(\w+)", fleet.redis.ask("INFO", "server"))
    await asyncio.to_thread(fleet.redis.kill)
    await let_pass(seconds)
    await asyncio.to_thread(fleet.redis.start)
    return run_id is not None and run_id[1] not in fleet.redis.ask("INFO", "server")


async def redis_frozen(fleet: Fleet, _instance: Instance, seconds: float) -> bool:
    """Accepts connections, by its kernel, and answers nothing."""
    fleet.redis.freeze()
    await let_pass(seconds)
    stood = fleet.redis.process is not None and is_stopped(fleet.redis.process.pid)
    fleet.redis.thaw()
    return stood


async def redis_full(fleet: Fleet, _instance: Instance, seconds: float) -> bool:
    """No memory left for anything that is written."""
    before = _refused(fleet)
    fleet.redis.ask("CONFIG", "SET", "maxmemory", "1")
    await let_pass(seconds)
    fleet.redis.ask("CONFIG", "SET", "maxmemory", "0")
    return _refused(fleet) > before


def _refused(fleet: Fleet) -> int:
    found = re.search(rb"errorstat_OOM:count=(\d+)", fleet.redis.ask("INFO", "errorstats"))
    return int(found[1]) if found else 0


async def redis_slow(fleet: Fleet, _instance: Instance, seconds: float) -> bool:
    """Every command waits, for most of a second, again and again."""
    loop = asyncio.get_running_loop()
    waited = []
    for _ in range(max(1, round(seconds))):
        fleet.redis.ask("CLIENT", "PAUSE", "800", "ALL")
        began = loop.time()
        await asyncio.to_thread(fleet.redis.ask, "PING")
        waited.append(loop.time() - began)
    return max(waited) > 0.4


async def redis_subscribers_killed(fleet: Fleet, _instance: Instance, seconds: float) -> bool:
    """Every 60 ms the connections of all who listen are cut."""
    killed = 0
    for _ in range(max(1, round(seconds / 0.06))):
        killed += int(fleet.redis.ask("CLIENT", "KILL", "TYPE", "pubsub").strip(b":\r\n"))
        await let_pass(0.06)
    return killed > 0


# --- PostgreSQL ------------------------------------------------------------------------------------------------


async def postgres_restarted(fleet: Fleet, _instance: Instance, seconds: float) -> bool:
    """As an operator does: sessions are ended, what is open is rolled back."""
    before = fleet.postgres.shutdowns
    await asyncio.to_thread(fleet.postgres.stop, "fast")
    await let_pass(seconds)
    await asyncio.to_thread(fleet.postgres.start)
    return fleet.postgres.shutdowns > before


async def postgres_crashed(fleet: Fleet, _instance: Instance, seconds: float) -> bool:
    """Without a word, and back by its own log."""
    before = fleet.postgres.recoveries
    await asyncio.to_thread(fleet.postgres.stop, "immediate")
    await let_pass(seconds)
    await asyncio.to_thread(fleet.postgres.start)
    return fleet.postgres.recoveries > before


# --- instances -------------------------------------------------------------------------------------------------


async def killed(_fleet: Fleet, instance: Instance, seconds: float) -> bool:
    """With -9; started again later, at the same address."""
    process = instance.process.process
    await instance.kill()
    await let_pass(seconds)
    await _started(instance)
    return process.returncode == -9


async def drained(_fleet: Fleet, instance: Instance, seconds: float) -> bool:
    """Ended politely, and started again."""
    code = await instance.stop()
    await let_pass(seconds)
    await _started(instance)
    return code == 0


async def frozen(_fleet: Fleet, instance: Instance, seconds: float) -> bool:
    """SIGSTOP, then on with everything that it believed."""
    instance.freeze()
    await let_pass(seconds)
    stood = is_stopped(instance.process.pid)
    instance.thaw()
    return stood


async def zombie(fleet: Fleet, instance: Instance, _seconds: float) -> bool:
    """SIGSTOP for so long that others have taken over what it has when it goes on."""
    return await frozen(fleet, instance, BEYOND_THE_LEASE_S)


async def _started(instance: Instance) -> None:
    """Start it; while a server is away it can't, and is tried again as a supervisor does."""

    async def up() -> bool:
        try:
            await instance.start()
        except AssertionError:
            await instance.aclose()
        return instance.is_up

    await eventually(up, within_s=60)


OF_THE_NETWORK: Final[dict[str, Fault]] = {
    f"{kind}: {' and '.join(ways)}": network(change, *ways, shown_by=shown_by)
    for ways in (("redis",), ("postgres",), ("redis", "postgres"))
    for kind, change, shown_by in (
        ("cut", _cut, "refused"),
        ("half-open", Proxy.swallow, "swallowed"),
        ("stalled", Proxy.stall, "stalled"),
        ("delayed", _long, "delayed"),
        ("lossy", _lossy, "delayed"),
    )
}
OF_SERVERS: Final[dict[str, Fault]] = {
    "Redis killed, empty": redis_killed,
    "Redis frozen": redis_frozen,
    "Redis out of memory": redis_full,
    "Redis slow": redis_slow,
    "Redis' subscribers killed": redis_subscribers_killed,
    "PostgreSQL restarted": postgres_restarted,
    "PostgreSQL crashed": postgres_crashed,
}
OF_INSTANCES: Final[dict[str, Fault]] = {
    "killed": killed,
    "drained": drained,
    "frozen": frozen,
    "frozen beyond its lease": zombie,
}
FAULTS: Final = OF_THE_NETWORK | OF_SERVERS | OF_INSTANCES
