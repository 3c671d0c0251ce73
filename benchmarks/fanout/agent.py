"""The benchmark's agent: its tasks say what datagrams bid them, as one that listens to a machine would.

What it costs is counted with the gateway, so it does what it must and no more: a `recv` for each datagram, a wake for
each task. An `asyncio.Queue` behind a datagram protocol cost 10 us more.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final

from gateway.agents.base import AsyncBaseAgent
from gateway.tasks import Task

MAX_BYTES: Final = 100
"""Of a datagram."""


class Ear:
    """What is asked of one task and was not said yet; nothing is lost while it speaks."""

    __slots__ = ("asked", "rung")

    def __init__(self) -> None:
        self.asked = deque[tuple[int, int]]()
        """How many events, and when, of each datagram."""
        self.rung: asyncio.Future[tuple[int, int]] | None = None
        """What is asked of one who waits for it."""

    def put(self, events: int, at: int) -> None:
        """So many more are asked for."""
        if self.rung is None or self.rung.done():
            self.asked.append((events, at))
        else:
            self.rung.set_result((events, at))


class Source:
    """Hears `FIRST TASKS EVENTS AT` for all tasks of the process; each has an ear of its own."""

    def __init__(self) -> None:
        self.ears: dict[int, Ear] = {}
        self._socket: socket.socket | None = None

    def open(self, port: int) -> None:
        """Listen; once is enough."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.bind(("127.0.0.1", port))
            asyncio.get_running_loop().add_reader(self._socket, self._hear, self._socket)

    def _hear(self, source: socket.socket) -> None:
        first, tasks, events, at = map(int, source.recv(MAX_BYTES).split())
        for number in range(first, first + tasks):
            if (ear := self.ears.get(number)) is not None:
                ear.put(events, at)


SOURCE: Final = Source()


class Bench(AsyncBaseAgent):
    """Its text is its number at the source; without one it has ended at once."""

    def __init__(self) -> None:
        super().__init__("bench")

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Yield an event for each that is asked for, without end."""
        if not task.task:
            yield {"phase": "bench", "result": {}}
            return
        if port := int(os.environ.get("BENCH_SOURCE", "0")):
            SOURCE.open(port)
        ear = SOURCE.ears[int(task.task)] = Ear()
        new_future = asyncio.get_running_loop().create_future
        while True:
            if ear.asked:
                events, at = ear.asked.popleft()
            else:
                ear.rung = new_future()
                events, at = await ear.rung
            for _ in range(events):
                yield {"phase": "bench", "status": "running", "progress": None, "at": at}
