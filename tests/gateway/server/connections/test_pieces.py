"""What comes by HTTP is given on in pieces: whole and in order, at its address's pace, and not all in one turn."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from gateway.server.connections.pieces import CHUNKS_A_COST, PIECE_BYTES
from gateway.server.listening import listening, set_up
from gateway.sessions.upgrade import HandedOver
from gateway.settings import Settings
from tests.support.raw_websocket import Door, connected
from tests.support.waiting import let_pass

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
LARGE = 4 << 20
READ_BYTES = 256 << 10
"""In one go, at most."""
TINY = b"1\r\nx\r\n"


@asynccontextmanager
async def served(given: list[bytes], late: list[int], **settings: Any) -> AsyncIterator[str]:
    """Where a server is that reads bodies, and says how long they were. In `given` are the parts that it was given, in
    `late` how much of what had been read was still to come, each time."""

    async def handle(request: web.Request) -> web.Response:
        size = 0
        async for part in request.content.iter_any():
            given.append(part)
            late.append(len(request.protocol._late))  # type: ignore[attr-defined]
            size += len(part)
        return web.Response(text=f"{size}!")

    app = web.Application()
    app.router.add_post("/", handle)
    runner = await set_up(app, close_s=1)
    async with listening(runner, Settings(_env_file=None, port=0, **settings)) as (url, _):
        yield url
    await runner.cleanup()


async def test_bodies_come_whole_and_in_their_order() -> None:
    """Large ones and such in chunks of one byte, of which a piece ends anywhere, one request behind the other."""
    given = list[bytes]()
    body = bytes(range(256)) * 4096
    said = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    tiny = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + TINY * 20_000 + b"0\r\n\r\n"
    async with served(given, []) as url, connected(Door(url)) as (reader, writer):
        writer.write((said + tiny) * 2)
        for size in (len(body), 20_000) * 2:
            async with asyncio.timeout(30):
                answer = await reader.readuntil(b"!")
                assert answer.endswith(b"\r\n\r\n%d!" % size)
    assert b"".join(given) == (body + b"x" * 20_000) * 2


async def test_no_more_is_read_before_the_pieces_have_gone() -> None:
    """Of a large body what waits is no more than was read in one go, whatever the reader has done with the rest."""
    given, late = list[bytes](), list[int]()

    def send(url: str) -> bytes:
        there = ("127.0.0.1", urlsplit(url).port)
        with socket.create_connection(there, timeout=30, source_address=("127.0.0.9", 0)) as mine:
            mine.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % LARGE + bytes(LARGE))
            return mine.recv(1000)

    async with served(given, late, requests_per_s=100, request_burst=1) as url:
        assert b" 200 " in await asyncio.to_thread(
            send, url
        )  # a client on our loop would send little at a time
    assert sum(map(len, given)) == LARGE
    assert 0 < max(late) <= READ_BYTES


async def test_tiny_chunks_are_not_read_in_one_turn() -> None:
    """Of what came in one go only a few pieces are read at once: between them others have their turn."""
    given = list[bytes]()
    async with served(given, []) as url, connected(Door(url)) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + TINY * 20_000 + b"0\r\n\r\n")
        async with asyncio.timeout(30):
            await reader.readuntil(b"!")
    assert max(map(len, given)) <= 4 * PIECE_BYTES / len(TINY)


async def test_address_pays_for_what_costs_much_to_read() -> None:
    """Many tiny chunks wait for their address's pace; who has none goes on at once."""
    chunks, per_s = 20_000, 2000
    for address, waits in (("127.0.0.1", False), ("127.0.0.9", True)):
        async with (
            served([], [], requests_per_s=per_s / 10, request_burst=1) as url,
            connected(Door(url, address)) as (reader, writer),
        ):
            began = asyncio.get_running_loop().time()
            writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + TINY * chunks + b"0\r\n\r\n")
            async with asyncio.timeout(30):
                await reader.readuntil(b"!")
            took_s = asyncio.get_running_loop().time() - began
            assert not waits or took_s >= chunks / CHUNKS_A_COST / per_s / 2


async def test_what_comes_behind_a_handshake_is_its_protocols() -> None:
    """All of it, however much came in one go."""
    heard = bytearray()
    rest = bytes(range(256)) * 1024

    class Hearer(asyncio.Protocol):
        """Keeps what it hears."""

        def data_received(self, data: bytes) -> None:
            """See `asyncio.Protocol`."""
            heard.extend(data)

    async def handle(request: web.Request) -> web.StreamResponse:
        request.protocol.hand_over(Hearer())  # type: ignore[attr-defined]
        return HandedOver()

    app = web.Application()
    app.router.add_get("/", handle)
    runner = await set_up(app, close_s=1)
    async with (
        listening(runner, Settings(_env_file=None, port=0)) as (url, _),
        connected(Door(url)) as (_, writer),
    ):
        said = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        writer.write(said + rest)
        async with asyncio.timeout(30):
            while len(heard) < len(rest):
                await let_pass(0)
    await runner.cleanup()
    assert bytes(heard) == rest
