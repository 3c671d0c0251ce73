"""Clients in processes of their own, led by lines of JSON on their standard input and output."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

MAX_LINE_BYTES = 64 << 20


class Puppet:
    """One process of clients: it says how far it is, and is told when to go on."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def tell(self, order: str) -> None:
        """Give it an order."""
        if self._process.stdin is None:
            raise AssertionError("no standard input")
        self._process.stdin.write(order.encode() + b"\n")
        await self._process.stdin.drain()

    async def says(self, what: str, *, within_s: float) -> Any:
        """What it says when it is that far."""
        if self._process.stdout is None:
            raise AssertionError("no standard output")
        async with asyncio.timeout(within_s):
            line = await self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the clients ended before they said {what}")
        said = json.loads(line)
        if said[0] != what:
            raise AssertionError(f"the clients said {said[0]}: {str(said[1])[:3000]}, not {what}")
        return said[1]


@contextlib.asynccontextmanager
async def puppets(module: str, configs: Sequence[dict[str, Any]]) -> AsyncIterator[list[Puppet]]:
    """One `python -m module` for each of `configs`, which it is given as its first line; gone at the end."""
    processes = []
    try:
        for config in configs:
            processes.append(await _started(module))
            await Puppet(processes[-1]).tell(json.dumps(config))
        yield [Puppet(process) for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _started(module: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
    )


async def all_say(crowd: Sequence[Puppet], what: str, *, within_s: float) -> list[Any]:
    """What each says when it is that far."""
    return list(await asyncio.gather(*(puppet.says(what, within_s=within_s) for puppet in crowd)))


async def tell_all(crowd: Sequence[Puppet], order: str) -> None:
    """Give each of them an order."""
    for puppet in crowd:
        await puppet.tell(order)


def say(what: str, value: Any = None) -> None:
    """From within a puppet: how far it is."""
    sys.stdout.write(json.dumps([what, value]) + "\n")
    sys.stdout.flush()


async def order() -> str:
    """From within a puppet: the next order."""
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()
