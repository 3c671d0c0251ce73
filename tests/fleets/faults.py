"""What can befall a fleet. Each fault lasts for a while, is mended, and says whether it has really happened.

A fault is *shown* by who suffered it: the proxy counts what it held up, the kernel says that a process stands still,
Redis counts what it refused, PostgreSQL's log tells of its recovery. All but two, which are blows again and again, are
a cause that lasts and a trace that it leaves.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from tests.support.fleet import Fleet, Instance
from tests.support.processes import is_stopped
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, let_pass

Fault = Callable[[Fleet, Instance, float], Awaitable[bool]]
"""Befalls the fleet, or an instance of it, for so many seconds; whether it happened."""
Cause = Callable[[Fleet, Instance], AbstractAsyncContextManager[None]]
"""It is so inside the block, and mended after it."""
Trace = Callable[[Fleet, Instance], Sequence[object]]
"""All of it is different once it has happened."""
LONG_WAY_S: Final = 0.05
RETRANSMITTED_S: Final = 0.3
LOST_SHARE: Final = 0.1
TAKEOVER_S: Final = 13.0
"""`GATEWAY_TAKEOVER_S`, where a fleet names no other."""


def lasting(cause: Cause, trace: Trace, *, while_it_lasts: bool = False) -> Fault:
    """A fault by its cause; its trace is looked for afterwards, or while it lasts."""

    async def fault(fleet: Fleet, instance: Instance, seconds: float) -> bool:
        before = trace(fleet, instance)
        async with cause(fleet, instance):
            await let_pass(seconds)
            during = trace(fleet, instance) if while_it_lasts else ()
        after = during or trace(fleet, instance)
        return all(then != now for then, now in zip(before, after, strict=True))

    return fault


# --- the network between an instance and its servers -----------------------------------------------------------


def network(change: Callable[[Proxy], None], *ways: str, shown_by: str) -> Fault:
    """A fault of an instance's `ways` (`redis`, `postgres`), and what of a proxy's counts shows it."""

    def proxies(instance: Instance) -> list[Proxy]:
        return [getattr(instance, way) for way in ways]

    @asynccontextmanager
    async def changed(_fleet: Fleet, instance: Instance) -> AsyncIterator[None]:
        for proxy in proxies(instance):
            change(proxy)
        yield
        for proxy in proxies(instance):
            proxy.flow()

    return lasting(changed, lambda _, instance: [proxy.hits[shown_by] for proxy in proxies(instance)])


def _cut(proxy: Proxy) -> None:
    proxy.refuses = True
    proxy.cut_all()


def _long(proxy: Proxy) -> None:
    proxy.delay(LONG_WAY_S)


def _lossy(proxy: Proxy) -> None:
    proxy.delay(RETRANSMITTED_S, share=LOST_SHARE)


# --- Redis -----------------------------------------------------------------------------------------------------


def told(section: str, pattern: bytes) -> Trace:
    """What Redis says of itself."""
    return lambda fleet, _: re.findall(pattern, fleet.redis.ask("INFO", section)) or [None]


@asynccontextmanager
async def redis_killed(fleet: Fleet, _instance: Instance) -> AsyncIterator[None]:
    """Killed with -9, and started empty."""
    await asyncio.to_thread(fleet.redis.kill)
    yield
    await asyncio.to_thread(fleet.redis.start)


@asynccontextmanager
async def redis_frozen(fleet: Fleet, _instance: Instance) -> AsyncIterator[None]:
    """Accepts connections, by its kernel, and answers nothing."""
    fleet.redis.freeze()
    yield
    fleet.redis.thaw()


@asynccontextmanager
async def redis_full(fleet: Fleet, _instance: Instance) -> AsyncIterator[None]:
    """No memory left for anything that is written."""
    fleet.redis.ask("CONFIG", "SET", "maxmemory", "1")
    yield
    fleet.redis.ask("CONFIG", "SET", "maxmemory", "0")


def _redis_stands(fleet: Fleet, _instance: Instance) -> Sequence[object]:
    return [fleet.redis.process is not None and is_stopped(fleet.redis.process.pid)]


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


def postgres_stopped(mode: str) -> Cause:
    """Stopped and started again; `fast` as an operator does, where what is open is rolled back, `immediate` is a crash,
    from which it comes back by its own log."""

    @asynccontextmanager
    async def stopped(fleet: Fleet, _instance: Instance) -> AsyncIterator[None]:
        await asyncio.to_thread(fleet.postgres.stop, mode)
        yield
        await asyncio.to_thread(fleet.postgres.start)

    return stopped


# --- instances -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def killed(_fleet: Fleet, instance: Instance) -> AsyncIterator[None]:
    """With -9; started again later, at the same address."""
    await instance.kill()
    yield
    await _started(instance)


@asynccontextmanager
async def drained(_fleet: Fleet, instance: Instance) -> AsyncIterator[None]:
    """Ended politely, and started again."""
    await instance.stop()
    yield
    await _started(instance)


@asynccontextmanager
async def frozen(_fleet: Fleet, instance: Instance) -> AsyncIterator[None]:
    """SIGSTOP, then on with everything that it believed."""
    instance.freeze()
    yield
    instance.thaw()


@asynccontextmanager
async def zombie(fleet: Fleet, instance: Instance) -> AsyncIterator[None]:
    """SIGSTOP for so long that others have taken over what it has when it goes on."""
    async with frozen(fleet, instance):
        await let_pass(float(instance.env.get("GATEWAY_TAKEOVER_S", TAKEOVER_S)) + 1)
        yield


def _stands(_fleet: Fleet, instance: Instance) -> Sequence[object]:
    return [is_stopped(instance.process.pid)]


def _ended(code: int) -> Trace:
    return lambda _, instance: [instance.ends[code]]


async def _started(instance: Instance) -> None:
    """Start it; while a server is away it can't, and is tried again as a supervisor does."""

    async def up() -> bool:
        try:
            await instance.start()
        except AssertionError:
            await instance.aclose()
        return instance.is_up

    await eventually(up, within_s=180)


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
    "Redis killed, empty": lasting(redis_killed, told("server", rb"run_id:(\w+)")),
    "Redis frozen": lasting(redis_frozen, _redis_stands, while_it_lasts=True),
    "Redis out of memory": lasting(redis_full, told("errorstats", rb"errorstat_OOM:count=(\d+)")),
    "Redis slow": redis_slow,
    "Redis' subscribers killed": redis_subscribers_killed,
    "PostgreSQL restarted": lasting(postgres_stopped("fast"), lambda fleet, _: [fleet.postgres.shutdowns]),
    "PostgreSQL crashed": lasting(
        postgres_stopped("immediate"), lambda fleet, _: [fleet.postgres.recoveries]
    ),
}
OF_INSTANCES: Final[dict[str, Fault]] = {
    "killed": lasting(killed, _ended(-9)),
    "drained": lasting(drained, _ended(0)),
    "frozen": lasting(frozen, _stands, while_it_lasts=True),
    "frozen beyond its lease": lasting(zombie, _stands, while_it_lasts=True),
}
FAULTS: Final = OF_THE_NETWORK | OF_SERVERS | OF_INSTANCES
