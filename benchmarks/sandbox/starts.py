"""How long a session takes to its first byte: from the pool, cold, fifty at once; what a warm jail holds."""

import asyncio
import time
from pathlib import Path

from benchmarks.measure import Figure
from benchmarks.sandbox.floors import cold_ms
from benchmarks.sandbox.service import bridge_to, first_output, settled
from sandbox_bridge.bridge import Bridge
from tests.support.processes import children_of
from tests.support.sandbox_process import sandbox_service

CROWD = 50
_WARM = 4


async def first_byte_ms(bridge: Bridge) -> float:
    """From the submit to the first output."""
    began = time.perf_counter()
    await first_output(bridge, "echo hello")
    return (time.perf_counter() - began) * 1000


async def from_the_pool(runs: int) -> list[Figure]:
    """One session after another, each time the pool is full again."""
    took = []
    with sandbox_service(warm="2") as url:
        async with bridge_to(url) as bridge:
            for _ in range(runs * 5):
                took.append(await first_byte_ms(bridge))
                # The pool refills behind the session's back; what is measured is a full one.
                await settled(bridge, 0.15)
    return [Figure("first byte, warm jail", "ms", took, at_most=5)]


async def cold(runs: int) -> list[Figure]:
    """One, and fifty at once, without a pool, beside bare jails that start Python and end."""
    with sandbox_service(warm="0", max_sessions=str(CROWD)) as url:
        async with bridge_to(url) as bridge:
            alone = [await _one_and_floor(bridge) for _ in range(runs * 5)]
            crowds = [await _crowd_and_floor(bridge) for _ in range(runs)]
    floor = "bwrap … python3 -I -S -c pass"
    one, ones_floor = map(list, zip(*alone, strict=True))
    many, many_floor = map(list, zip(*crowds, strict=True))
    return [
        Figure("first byte, cold jail", "ms", one, floor, ones_floor, ratio_at_most=1.5),
        Figure(f"{CROWD} cold jails at once", "ms", many, floor, many_floor, ratio_at_most=1.5),
    ]


async def _one_and_floor(bridge: Bridge) -> tuple[float, float]:
    floor = cold_ms(1)
    took = await first_byte_ms(bridge)
    await settled(bridge, 0.05)
    return took, floor


async def _crowd_and_floor(bridge: Bridge) -> tuple[float, float]:
    floor = cold_ms(CROWD)
    began = time.perf_counter()
    await asyncio.gather(*(first_output(bridge, "echo hello") for _ in range(CROWD)))
    took = (time.perf_counter() - began) * 1000
    await settled(bridge, 0.5)
    return took, floor


async def idle_jail(runs: int) -> list[Figure]:
    """Memory of one waiting jail: proportional share, of all its processes."""
    held = []
    for _ in range(runs):
        with sandbox_service(warm=str(_WARM)) as url:
            async with bridge_to(url) as bridge:
                await settled(bridge, 0.8)
                assert bridge.info is not None
                jails = [pid for pid in _jail_pids() if pid]
                held.append(sum(map(_pss_mib, jails)) / _WARM)
    return [Figure("idle warm jail", "MiB", held, at_most=12)]


def _jail_pids() -> list[int]:
    """Everything that descends from this process and is a bubblewrap, or inside one."""
    own = children_of(_own_pid())
    jails = [pid for pid in own if _name(pid) == "bwrap"]
    return sorted({pid for jail in jails for pid in [jail, *children_of(jail)]})


def _own_pid() -> int:
    return int(Path("/proc/self").readlink().name)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
