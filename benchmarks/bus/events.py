"""How long an event is on its way from the agent that says it, on one instance, to a client of another."""

from typing import Any, Final

from benchmarks.bus.floor import BATCH, BATCHES_A_SECOND, SECONDS, TASKS, bare, percentile
from benchmarks.bus.instances import STORES, Pair, pair
from benchmarks.bus.readers import Reader, readers
from benchmarks.measure import Figure
from tests.support.waiting import eventually

TARGETS: Final = {50: 3.0, 99: 25.0}
PACE: Final[dict[str, Any]] = {
    "at_once": BATCH,
    "every_s": TASKS / BATCHES_A_SECOND,
    "rounds": SECONDS * BATCHES_A_SECOND // TASKS,
}
"""So that all tasks together make as many batches a second as the floor."""


class Ways:
    """How long each event took, in s, to where it was read."""

    def __init__(self) -> None:
        self.took_s: list[float] = []

    def heard(self, event: dict[str, Any], now_ns: int) -> None:
        """Note an event that says when it was made."""
        said_ns = event["data"].get("said_ns")
        if said_ns is not None:
            self.took_s.append((now_ns - said_ns) / 1e9)


async def submitted(reader: Reader, agent: str = "source", **given: Any) -> str:
    """A task of one of our agents; its id."""
    answer = await reader.ask(
        "submit_task", agent=agent, mode="background", input={"task": "measure", **given}
    )
    task_id: str = answer["task"]["task_id"]
    return task_id


async def one_run(both: Pair) -> tuple[Ways, Ways]:
    """All events of the tasks, as a client of their own instance has them, and one of the other."""
    near, far = Ways(), Ways()
    async with readers(both.first, 1, near.heard) as (here,), readers(both.second, 1, far.heard) as (there,):
        for number in range(TASKS):
            task_id = await submitted(here, **PACE, after_s=1 + number / BATCHES_A_SECOND)
            await here.ask("subscribe", task_id=task_id)
            await there.ask("subscribe", task_id=task_id)
        expected = BATCHES_A_SECOND * SECONDS * BATCH

        async def all_there() -> bool:
            return len(near.took_s) == len(far.took_s) == expected

        await eventually(all_there)
    return near, far


async def measure(runs: int) -> list[Figure]:
    """Over each store, beside a bare publish of as many bytes by the same Redis, between the runs."""
    return [figure for store in STORES for figure in await _over(store, runs)]


async def _over(store: str, runs: int) -> list[Figure]:
    async with pair(store) as both:
        pairs = [(await one_run(both), await bare(both.redis.url)) for _ in range(runs)]
    figures = []
    for percent, target in TARGETS.items():
        floor = [times.ms(percent) for _, times in pairs]
        for name, which, wanted in (("its own", 0, None), ("the other", 1, target)):
            runs_ms = [percentile(ways[which].took_s, percent) for ways, _ in pairs]
            title = f"{store}: said, synced, at a client of {name} instance, p{percent}"
            figures.append(Figure(title, "ms", runs_ms, "bare publish", floor, at_most=wanted))
    return figures
