"""A Redis of the tests' own: nothing on disk, on a port that was free."""

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.bus.redis.bus import RedisBus
from tests.support.postgres import free_port
from tests.support.processes import until

DEADLINE_S = 30.0
ANSWER_S = 10.0
"""A command that has no answer by then will get none."""


@dataclass
class RedisServer:
    """A server; `start` and `kill` as often as wanted: it always begins empty."""

    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What `REDIS_URL` is to be."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers. Raises RuntimeError where Redis is not installed."""
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("Redis is not installed; on Debian: apt install redis-server")
        words = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        self.process = subprocess.Popen(
            [program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for whoever leads the fleet
        )
        deadline = time.monotonic() + DEADLINE_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError("Redis did not start")

    def kill(self) -> None:
        """As a crash: all that it knew is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Let it stand still: its kernel accepts and acknowledges, it does nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def ask(self, *words: str) -> bytes:
        """The first part of the answer to a command, as Redis writes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S) as connection:
            parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
            connection.sendall("".join(parts).encode())
            return connection.recv(1 << 16)

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A running server, gone after the block."""
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def running_bus(url: str, *, instance: str, prefix: str = "test") -> AsyncIterator[RedisBus]:
    """The bus of one instance, connected."""
    bus = RedisBus(url, instance=instance, prefix=prefix)
    running = asyncio.get_running_loop().create_task(bus.run())
    try:
        await until(lambda: bus.problem is None, within_s=DEADLINE_S, what="a connection to Redis")
        yield bus
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
