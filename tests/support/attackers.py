"""A process of attackers, to be stopped and sent on by its signals: `python -m tests.support.attackers URL KIND`.

They have an address of their own, as strangers have. Ended by SIGTERM they say, as JSON, how much of each attack was
done: what never happened has shown nothing.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.hostile_clients import Tally, attack
from tests.support.hostile_frames import FROM_SANDBOX, framed
from tests.support.raw_websocket import PING, TEXT, Door, RawClient, connected, handshake, raw_client, request

SILENT: Final = 100
FLOOD: Final = 200
"""Frames of one write."""
PIPELINED: Final = 50
"""Requests of one write."""
ASKED_AT_ONCE: Final = 60
"""Requests under way on one socket, of the 64 that may be."""
BOMB: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: x\r\n" * 2000 + b"\r\n"
PATHS: Final = ("/", "/livez", "/metrics", "/nope", "/openapi.json", "/v1/tasks?label=k%3Dw", "/v1/whoami")
HEADS: Final = {"If-None-Match": '"a",' * 3900, "Accept-Encoding": "a," * 7900}
CHUNKS: Final = "chunks"
LISTS: Final = ({"label": "k=w"}, {"limit": 500}, {"status": "failed"})
"""The first reads all there are and finds none, the next has as many as it may."""
SAID: Final = {
    "pings": framed(b"", 0x80 | PING),
    "progress of nobody's": framed(json.dumps(FROM_SANDBOX[0]).encode()),
    "nothing": framed(b"{}"),
}
"""What sandboxes flood with."""


@dataclass
class Attackers:
    """What they attack, and how much of it was done: bytes, answers or connections, by what it was."""

    door: Door
    done: Counter[str] = field(default_factory=Counter)

    def sockets(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Half of them send generated hostile frames over one connection after the other; beside them stand floods of
        pings, of requests beyond the rate, fragments without end, bombs of headers, sockets that say nothing, and some
        that are opened and closed in a loop."""
        yield self._frames()
        yield from (self._over_and_over(once) for once in (self._bomb, self._comes_and_goes))
        floods = {
            "pings": framed(b"", 0x80 | PING) * FLOOD,
            "requests": framed(request("1")) * FLOOD,
            "pieces": framed(b"", 1) + framed(b"", 0) * FLOOD,
        }
        for name, data in floods.items():
            yield self._over_and_over(self._flood, name, data)
        yield from (self._over_and_over(self._silent) for _ in range(SILENT))

    def requests(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Requests by HTTP without a token, one behind the other, and answers that are thrown away; bodies in chunks of
        one byte, and heads with long lists."""
        yield from (self._over_and_over(self._ask, path, path) for path in PATHS)
        yield from (
            self._over_and_over(self._ask, name, "/", f"{name}: {said}\r\n") for name, said in HEADS.items()
        )
        yield from (self._over_and_over(self._chunks) for _ in range(4))

    def lists(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Lists that take long to look up, over a few sockets."""
        yield from (self._over_and_over(self._list, wanted) for wanted in LISTS * 3)

    def sandboxes(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Sandboxes that dial in and flood."""
        for number, said in enumerate(SAID):
            yield self._over_and_over(self._dial_in, f"s{number}", said)

    async def _over_and_over(self, once: Any, *given: Any) -> None:
        """Over a new connection each time that one is refused or ended."""
        while True:
            with contextlib.suppress(OSError, EOFError, AssertionError, TimeoutError):
                await once(*given)

    async def _flood(self, name: str, data: bytes) -> None:
        async with raw_client(self.door) as me:
            while not me.reader.at_eof():
                await me.send(data)
                self.done[name] += len(data)
                await me.reader.read(1 << 16)

    async def _bomb(self) -> None:
        async with connected(self.door) as (reader, writer):
            writer.write(BOMB)
            self.done["bombs"] += (await reader.read()).startswith(b"HTTP/1.0 400")

    async def _silent(self) -> None:
        async with connected(self.door) as (reader, _):
            self.done["silent"] += 1
            await reader.read()

    async def _comes_and_goes(self) -> None:
        async with raw_client(self.door):
            self.done["come and gone"] += 1

    async def _frames(self) -> None:
        tally = Tally()
        for seed in itertools.count(1, 10_000):
            # Its handshake may be refused, or not even heard.
            with contextlib.suppress(OSError, EOFError, ExceptionGroup):
                await attack(self.door, [], seed=seed, frames=10_000, tally=tally, at_once=2)
            self.done["hostile frames"] = tally.frames

    async def _ask(self, name: str, path: str, more: str = "") -> None:
        asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode() * PIPELINED
        async with connected(self.door) as (reader, writer), _sending(writer, asked):
            while part := await reader.read(1 << 18):
                self.done[name] += part.count(b"HTTP/1.1 ")

    async def _chunks(self) -> None:
        async with connected(self.door) as (reader, writer):
            writer.write(b"POST /nope HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            async with _sending(writer, b"1\r\nx\r\n" * 40_000, self.done, CHUNKS):
                while await reader.read(1 << 16):
                    pass

    async def _list(self, wanted: dict[str, Any]) -> None:
        async with raw_client(self.door) as me:
            under_way = 0
            for number in itertools.count():
                await me.send(
                    framed(json.dumps({"type": "list_tasks", "id": f"{number}", **wanted}).encode())
                )
                under_way += 1
                while under_way >= ASKED_AT_ONCE:
                    opcode, text = await me.read()
                    under_way -= opcode == TEXT
                    self.done[next(iter(wanted))] += b'"result"' in text[:100]

    async def _dial_in(self, name: str, said: str) -> None:
        async with connected(self.door) as (reader, writer):
            me = RawClient(reader, writer)
            await me.send(handshake(self.door.url, line="GET /sandbox HTTP/1.1"))
            await reader.readuntil(b"\r\n\r\n")
            hello = FROM_SANDBOX[-1] | {"sandbox_id": name, "max_sessions": 0}
            await me.send(framed(json.dumps(hello).encode()))
            async with _sending(writer, SAID[said] * FLOOD, self.done, said):
                while await reader.read(1 << 18):
                    pass


@contextlib.asynccontextmanager
async def _sending(
    writer: asyncio.StreamWriter, data: bytes, done: Counter[str] | None = None, name: str = ""
) -> Any:
    """Inside the block `data` is sent over and over, as fast as it is taken."""

    async def send() -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(data)
                await writer.drain()
                if done is not None:
                    done[name] += len(data)

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.wait([sending])


KINDS: Final = {
    "sockets": (Attackers.sockets, "127.0.0.66"),
    "requests": (Attackers.requests, "127.0.0.67"),
    "lists": (Attackers.lists, "127.0.0.68"),
    "sandboxes": (Attackers.sandboxes, "127.0.0.69"),
}


async def main(url: str, kind: str) -> None:
    """Attack until told to end."""
    attacks, address = KINDS[kind]
    attackers, told = Attackers(Door(url, address)), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with asyncio.TaskGroup() as attacking:
        for one in attacks(attackers):
            attacking.create_task(one)
        await told.wait()
        print(json.dumps(attackers.done), flush=True)  # noqa: T201
        # Not by a cancel: a group's error that comes at the same moment goes before it, and is one of those suppressed.
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
