"""The benchmark's agent: its tasks say what datagrams bid them, as one that listens to a machine would."""

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any

from gateway.agents.base import AsyncBaseAgent
from gateway.tasks import Task


class Source(asyncio.DatagramProtocol):
    """Hears `FIRST TASKS EVENTS AT` for all tasks of the process; each finds its part in a queue of its own."""

    def __init__(self) -> None:
        self.queues: dict[int, asyncio.Queue[tuple[int, int]]] = {}

    def datagram_received(self, data: bytes, _addr: tuple[str | Any, int]) -> None:
        """Hand so many events, and when they were asked for, to the tasks from the first on."""
        first, tasks, events, at = map(int, data.split())
        for number in range(first, first + tasks):
            if number in self.queues:
                self.queues[number].put_nowait((events, at))


SOURCE = Source()
LISTENS = asyncio.Lock()


async def listen() -> None:
    """Open the source once."""
    port = int(os.environ.get("BENCH_SOURCE", "0"))
    if port and not LISTENS.locked():
        await LISTENS.acquire()
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: SOURCE, local_addr=("127.0.0.1", port)
        )


class Bench(AsyncBaseAgent):
    """Its text is its number at the source; without one it has ended at once."""

    def __init__(self) -> None:
        super().__init__("bench")

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Yield an event for each that is asked for, without end."""
        if not task.task:
            yield {"phase": "bench", "result": {}}
            return
        await listen()
        queue = SOURCE.queues.setdefault(int(task.task), asyncio.Queue())
        while True:
            events, at = await queue.get()
            for _ in range(events):
                yield {"phase": "bench", "status": "running", "progress": None, "at": at}
