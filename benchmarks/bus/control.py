"""How long until a wish that is sent to one instance is true of a task that another runs."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from benchmarks.bus.events import submitted
from benchmarks.bus.floor import percentile
from benchmarks.bus.instances import STORES, pair
from benchmarks.bus.readers import Reader, readers
from benchmarks.measure import Figure

TIMES: Final = 150
WITHIN_S: Final = 30.0


class Statuses:
    """The newest status of each task, as its events tell it."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}
        self._moved = asyncio.Event()

    def heard(self, event: dict[str, Any], _now_ns: int) -> None:
        """Note a status."""
        if event["event"] == "status":
            self._of[event["task_id"]] = event["data"]["status"]
            self._moved.set()

    async def reaches(self, task_id: str, status: str) -> None:
        """Return when the task has it."""
        async with asyncio.timeout(WITHIN_S):
            while self._of.get(task_id) != status:
                self._moved.clear()
                await self._moved.wait()


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """How long it takes, in s."""
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


class Steerer:
    """A client of the second instance; the tasks are the first's."""

    def __init__(self, here: Reader, there: Reader, statuses: Statuses) -> None:
        self._here = here
        self._there = there
        self._statuses = statuses

    async def begun(self) -> str:
        """A running task of the first, which this client follows; its id."""
        task_id = await submitted(self._here, agent="steered")
        await self._there.ask("subscribe", task_id=task_id)
        await self._statuses.reaches(task_id, "running")
        return task_id

    async def wish(self, kind: str, task_id: str, status: str) -> None:
        """Ask for it, and hear of it."""
        await self._there.ask(kind, task_id=task_id)
        await self._statuses.reaches(task_id, status)

    async def pings(self) -> Sequence[float]:
        """What the way to an instance and back takes."""
        return [await timed(lambda: self._there.ask("ping")) for _ in range(TIMES)]

    async def pauses(self) -> tuple[Sequence[float], Sequence[float]]:
        """Pauses and resumes, in turn."""
        task_id = await self.begun()
        took = [
            await timed(lambda kind=kind, status=status: self.wish(kind, task_id, status))  # type: ignore[misc]
            for _ in range(TIMES)
            for kind, status in (("pause_task", "paused"), ("resume_task", "running"))
        ]
        await self.wish("cancel_task", task_id, "cancelled")
        return took[::2], took[1::2]

    async def cancels(self) -> Sequence[float]:
        """Cancels of tasks that run."""
        took = []
        for _ in range(TIMES):
            task_id = await self.begun()
            took.append(await timed(lambda: self.wish("cancel_task", task_id, "cancelled")))  # noqa: B023
        return took


async def measure(runs: int) -> list[Figure]:
    """Over each store."""
    return [figure for store in STORES for figure in await _over(store, runs)]


async def _over(store: str, runs: int) -> list[Figure]:
    statuses, pings, others = Statuses(), [], []
    async with (
        pair(store) as both,
        readers(both.first, 1, statuses.heard) as (here,),
        readers(both.second, 1, statuses.heard) as (there,),
    ):
        steerer = Steerer(here, there, statuses)
        for _ in range(runs):
            pings.append(await steerer.pings())
            others.append((*await steerer.pauses(), await steerer.cancels()))
    floor = [percentile(took, 99) for took in pings]
    figures = [Figure(f"{store}: ping, p99", "ms", floor, at_most=50.0)]
    for number, name in enumerate(("pause", "resume", "cancel")):
        took = [percentile(run[number], 99) for run in others]
        title = f"{store}: {name} by way of the other instance, until its event is here, p99"
        figures.append(Figure(title, "ms", took, "ping", floor, at_most=50.0))
    return figures
