"""`python -m benchmarks.start`: each start beside Python's own, which is the floor of all of them."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks.measure import Figure, disk, tell
from tests.support.gateway import client, running_gateway

RUNS: Final = 5


def command_s(*words: str) -> float:
    """How long a command takes, in s."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


async def ready_s(*options: str) -> float:
    """How long it takes until a gateway says that it is ready, in an empty directory."""
    with disk() as folder:
        began = time.perf_counter()
        async with running_gateway(folder / "data", *options):
            return time.perf_counter() - began


async def first_line_s() -> float:
    """How long after its submit the first line of a gateway's first task is with its client."""
    with disk() as folder:
        async with running_gateway(folder / "data") as gateway, client(gateway.socket_url) as user:
            began = time.perf_counter()
            task_id = await user.submit("echo hello")
            await user.until_event(task_id, "output")
            return time.perf_counter() - began


def times(measured: Callable[[], Awaitable[float]]) -> list[float]:
    """Of several runs."""

    async def once() -> float:
        return await measured()

    return [asyncio.run(once()) for _ in range(RUNS)]


def measure() -> list[Figure]:
    """All of it."""
    command_s("-c", "import gateway.server.serve, sandbox_bridge.__main__")
    python = [command_s("-c", "pass") for _ in range(RUNS)]
    beside = "python -c pass"
    return [
        Figure(
            "gateway --help",
            "s",
            [command_s("-m", "gateway", "--help") for _ in range(RUNS)],
            beside,
            python,
            at_most=0.3,
        ),
        Figure("gateway serve, ready", "s", times(ready_s), beside, python, at_most=1.0),
        Figure(
            "the same without a sandbox", "s", times(lambda: ready_s("--no-local-sandbox")), beside, python
        ),
        Figure("first line of a first task", "s", times(first_line_s), at_most=0.15),
    ]


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed gateway has been compiled
    sys.exit(not tell(measure(), as_json="--json" in sys.argv))
