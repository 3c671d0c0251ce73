"""What it costs to bring an event of one instance to clients of another: a thousand tasks, two watchers each.

Of a processor, by both instances and Redis, per delivery. What the store's own server takes is not in it; that the
first instance has each event stored is.
"""

import asyncio
import resource
import time
from contextlib import AsyncExitStack
from typing import Any, Final

from benchmarks.bus.events import submitted
from benchmarks.bus.floor import percentile
from benchmarks.bus.instances import STORES, Pair, pair
from benchmarks.bus.readers import Reader, readers
from benchmarks.measure import Figure
from tests.support.waiting import let_pass

TASKS: Final = 1000
WATCHERS: Final = 2
EVERY_S: Final = 1.0
"""A thousand tasks say a thousand events a second."""
SECONDS: Final = 8.0
AT_ONCE: Final = 50
PARTS: Final = ("both and Redis", "the first", "the second", "Redis")


class Count:
    """Deliveries, and how long each took, in s."""

    def __init__(self) -> None:
        self.took_s: list[float] = []

    def heard(self, event: dict[str, Any], now_ns: int) -> None:
        """Note one."""
        if (said_ns := event["data"].get("said_ns")) is not None:
            self.took_s.append((now_ns - said_ns) / 1e9)


async def _follow(watching: list[Reader], task_ids: list[str]) -> None:
    for begin in range(0, len(watching), AT_ONCE):
        part = range(begin, min(begin + AT_ONCE, len(watching)))
        await asyncio.gather(*(watching[n].ask("subscribe", task_id=task_ids[n % TASKS]) for n in part))


async def one_run(both: Pair, submitter: Reader, watching: list[Reader], count: Count) -> list[float]:
    """CPU per delivery, in us, of each of `PARTS`."""
    task_ids = [
        await submitted(submitter, every_s=EVERY_S, rounds=10_000, after_s=number % 100 / 100)
        for number in range(TASKS)
    ]
    await _follow(watching, task_ids)
    await let_pass(2)
    count.took_s.clear()
    before, began = both.cpu_s(), time.perf_counter()
    await let_pass(SECONDS)
    delivered, took_s = len(count.took_s), time.perf_counter() - began
    used = [now - then for now, then in zip(both.cpu_s(), before, strict=True)]
    expected = TASKS * WATCHERS * took_s / EVERY_S
    if not 0.95 < delivered / expected < 1.05:
        raise AssertionError(f"{delivered} of {expected:.0f} deliveries came")
    for task_id in task_ids:
        await submitter.ask("cancel_task", task_id=task_id)
    return [part / delivered * 1e6 for part in (sum(used), *used)]


async def measure(runs: int) -> list[Figure]:
    """Over each store."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    return [figure for store in STORES for figure in await _over(store, runs)]


async def _over(store: str, runs: int) -> list[Figure]:
    count = Count()
    costs, took_ms = [], []
    async with AsyncExitStack() as held:
        both = await held.enter_async_context(pair(store))
        (submitter,) = await held.enter_async_context(readers(both.first, 1, lambda _event, _now: None))
        watching = await held.enter_async_context(readers(both.second, TASKS * WATCHERS, count.heard))
        for _ in range(runs):
            costs.append(await one_run(both, submitter, watching, count))
            took_ms.append([percentile(count.took_s, percent) for percent in (50, 99)])
    words = f"{store}: {TASKS} tasks x {WATCHERS} watchers elsewhere"
    return [
        *(Figure(f"{words}, {name}", "us", [run[n] for run in costs]) for n, name in enumerate(PARTS)),
        *(Figure(f"{words}, p{p}", "ms", [run[n] for run in took_ms]) for n, p in enumerate((50, 99))),
    ]
