"""`python -m benchmarks.bus`: from one instance to another by Redis, beside a bare publish of the same bytes.

Publisher and subscriber share one process and one loop; the rate is the target's, 5,000 events a second.
"""

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from redis.asyncio import Redis

from benchmarks.measure import Figure, tell
from gateway.bus.base import Message, task_channel
from gateway.events import TaskEvents
from tests.support.records import batch_of
from tests.support.redis_server import redis_server, running_bus
from tests.support.waiting import let_pass

BATCH: Final = 20
"""Events of a commit, of some 200 bytes each."""
BATCHES_A_SECOND: Final = 250
SECONDS: Final = 4
TASKS: Final = 50
RUNS: Final = 3

Publish = Callable[[int, TaskEvents], Awaitable[None]]


class Times:
    """When each batch was sent and heard, in s."""

    def __init__(self) -> None:
        self.sent: dict[int, float] = {}
        self.heard: dict[int, float] = {}

    def ms(self, percent: int) -> float:
        """How long all but the slowest took, in ms. Raises ValueError where one never came."""
        if self.heard.keys() != self.sent.keys():
            raise ValueError(f"{len(self.sent) - len(self.heard)} of {len(self.sent)} batches never came")
        took = sorted(self.heard[number] - self.sent[number] for number in self.sent)
        return statistics.quantiles(took, n=100)[percent - 1] * 1000


def batches() -> list[TaskEvents]:
    """Commits of many tasks in turn; a batch's number is `first_seq // BATCH` and its task."""
    return [
        batch_of(f"t{number % TASKS}", first, first + BATCH - 1, text="x" * 100)
        for number in range(BATCHES_A_SECOND * SECONDS)
        for first in [number // TASKS * BATCH + 1]
    ]


def number_of(batch: TaskEvents) -> int:
    """Its place among `batches()`."""
    return batch.first_seq // BATCH * TASKS + int(batch.task_id[1:])


async def paced(times: Times, publish: Publish) -> None:
    """Publish at the rate, and wait a moment for the last."""
    began = time.perf_counter()
    for number, batch in enumerate(batches()):
        await let_pass(max(began + number / BATCHES_A_SECOND - time.perf_counter(), 0))
        times.sent[number] = time.perf_counter()
        await publish(number, batch)
    await let_pass(1)


async def ours(url: str, prefix: str) -> Times:
    """By the bus."""
    times = Times()

    def hear(_channel: str, message: Message) -> None:
        if isinstance(message, TaskEvents):
            times.heard[number_of(message)] = time.perf_counter()

    async def publish(_number: int, batch: TaskEvents) -> None:
        here.publish_nowait([(task_channel(batch.task_id), batch)])

    async with (
        running_bus(url, instance="here", prefix=prefix) as here,
        running_bus(url, instance="there", prefix=prefix) as there,
    ):
        there.on_message(hear)
        for number in range(TASKS):
            await there.subscribe(task_channel(f"t{number}"))
        await paced(times, publish)
    return times


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


async def measure() -> list[Figure]:
    """Both, in turn."""
    with redis_server() as server:
        pairs = [(await ours(server.url, f"run{run}"), await bare(server.url)) for run in range(RUNS)]
    targets = {50: 3.0, 99: 25.0}
    return [
        Figure(
            f"from a commit to another instance, p{percent}",
            "ms",
            [mine.ms(percent) for mine, _ in pairs],
            "bare publish",
            [floor.ms(percent) for _, floor in pairs],
            at_most=target,
        )
        for percent, target in targets.items()
    ]


if __name__ == "__main__":
    sys.exit(not tell(asyncio.run(measure()), as_json="--json" in sys.argv))
