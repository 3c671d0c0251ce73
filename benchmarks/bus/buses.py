"""From one bus to another: publisher and subscriber share one process and one loop."""

import time

from benchmarks.bus.floor import BATCH, TASKS, Times, bare, paced
from benchmarks.measure import Figure
from gateway.bus.base import Message, task_channel
from gateway.events import TaskEvents
from tests.support.redis_server import redis_server, running_bus


def number_of(batch: TaskEvents) -> int:
    """Its place among `batches()`."""
    return batch.first_seq // BATCH * TASKS + int(batch.task_id[1:])


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


async def measure(runs: int) -> list[Figure]:
    """Ours and the floor, in turn."""
    with redis_server() as server:
        pairs = [(await ours(server.url, f"run{run}"), await bare(server.url)) for run in range(runs)]
    return [
        Figure(
            f"from a commit to another instance's bus, p{percent}",
            "ms",
            [mine.ms(percent) for mine, _ in pairs],
            "bare publish",
            [floor.ms(percent) for _, floor in pairs],
            at_most=target,
        )
        for percent, target in {50: 3.0, 99: 25.0}.items()
    ]
