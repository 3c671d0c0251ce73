"""A process of attackers, to be stopped and sent on by its signals: `python -m tests.support.attackers URL`.

They have an address of their own, as strangers have. Half of them send generated hostile frames over one connection
after the other; beside them stand a flood of pings, a flood of requests beyond the rate, fragments without end, bombs
of headers, sockets that say nothing, and some that are opened and closed in a loop.
"""

import asyncio
import contextlib
import itertools
import sys
from typing import Final

from tests.support.hostile_clients import Tally, attack
from tests.support.hostile_frames import framed
from tests.support.raw_websocket import PING, Door, connected, raw_client, request

ADDRESS: Final = "127.0.0.66"
SILENT: Final = 100
FLOOD: Final = 200
"""Frames of one write."""
BOMB: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: x\r\n" * 2000 + b"\r\n"


async def _flood_once(door: Door, data: bytes) -> None:
    async with raw_client(door) as me:
        while not me.reader.at_eof():
            await me.send(data)
            await me.reader.read(1 << 16)


async def _flood(door: Door, data: bytes) -> None:
    """Send it over and over, over a new connection where that is ended."""
    while True:
        with contextlib.suppress(OSError, EOFError, AssertionError, TimeoutError):
            await _flood_once(door, data)


async def _bombs(door: Door) -> None:
    while True:
        with contextlib.suppress(OSError):
            async with connected(door) as (reader, writer):
                writer.write(BOMB)
                await reader.read()


async def _silent(door: Door) -> None:
    while True:
        with contextlib.suppress(OSError):
            async with connected(door) as (reader, _):
                await reader.read()


async def _frames(door: Door) -> None:
    for seed in itertools.count(1, 10_000):
        with contextlib.suppress(
            OSError, EOFError, ExceptionGroup
        ):  # its handshake was refused, or not even heard
            await attack(door, [], seed=seed, frames=10_000, tally=Tally(), at_once=2)


async def _comes_and_goes(door: Door) -> None:
    while True:
        with contextlib.suppress(OSError, EOFError, AssertionError, TimeoutError):
            async with raw_client(door):
                pass


async def main(url: str) -> None:
    """Attack until ended."""
    door = Door(url, ADDRESS)
    async with asyncio.TaskGroup() as group:
        group.create_task(_frames(door))
        group.create_task(_bombs(door))
        group.create_task(_comes_and_goes(door))
        for data in (
            framed(b"", 0x80 | PING) * FLOOD,
            framed(request("1")) * FLOOD,
            framed(b"", 1) + framed(b"", 0) * FLOOD,
        ):
            group.create_task(_flood(door, data))
        for _ in range(SILENT):
            group.create_task(_silent(door))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
