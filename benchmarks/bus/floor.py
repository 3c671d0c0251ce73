"""The floor: what a bare publish of the same bytes takes, at the same rate, by the same Redis."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from redis.asyncio import Redis

from gateway.events import TaskEvents
from tests.support.records import batch_of
from tests.support.waiting import let_pass

BATCH: Final = 20
"""Events of a commit, of some 200 bytes each."""
BATCHES_A_SECOND: Final = 250
SECONDS: Final = 4
TASKS: Final = 50

Publish = Callable[[int, TaskEvents], Awaitable[None]]


def percentile(took_s: Sequence[float], percent: int) -> float:
    """What all but the slowest took, in ms."""
    return statistics.quantiles(took_s, n=100)[percent - 1] * 1000


class Times:
    """When each batch was sent and heard, in s."""

    def __init__(self) -> None:
        self.sent: dict[int, float] = {}
        self.heard: dict[int, float] = {}

    def ms(self, percent: int) -> float:
        """How long all but the slowest took, in ms. Raises ValueError where one never came."""
        if self.heard.keys() != self.sent.keys():
            raise ValueError(f"{len(self.sent) - len(self.heard)} of {len(self.sent)} batches never came")
        return percentile([self.heard[number] - self.sent[number] for number in self.sent], percent)


def batches() -> list[TaskEvents]:
    """Commits of many tasks in turn; a batch's number is `first_seq // BATCH` and its task."""
    return [
        batch_of(f"t{number % TASKS}", first, first + BATCH - 1, text="x" * 100)
        for number in range(BATCHES_A_SECOND * SECONDS)
        for first in [number // TASKS * BATCH + 1]
    ]


async def paced(times: Times, publish: Publish) -> None:
    """Publish at the rate, and wait a moment for the last."""
    began = time.perf_counter()
    for number, batch in enumerate(batches()):
        await let_pass(max(began + number / BATCHES_A_SECOND - time.perf_counter(), 0))
        times.sent[number] = time.perf_counter()
        await publish(number, batch)
    await let_pass(1)


async def bare(url: str) -> Times:
    """By redis-py's own publish and subscription, on one channel."""
    times = Times()
    redis = Redis.from_url(url)
    subscription = redis.pubsub()
    await subscription.subscribe("bare")

    async def hear() -> None:
        async for message in subscription.listen():
            if message["type"] == "message":
                times.heard[int(message["data"][:8])] = time.perf_counter()

    async def publish(number: int, batch: TaskEvents) -> None:
        await redis.publish("bare", b"%8d" % number + b"\n".join(event.frame for event in batch.events))

    hearing = asyncio.get_running_loop().create_task(hear())
    await paced(times, publish)
    hearing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await hearing
    await subscription.aclose()  # type: ignore[no-untyped-call]
    await redis.aclose()
    return times
