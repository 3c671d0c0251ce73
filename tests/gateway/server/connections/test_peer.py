"""The server's side of an HTTP connection, beneath the routes."""

import asyncio
import socket
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from gateway.server.connections.address_limits import AddressLimits
from gateway.server.connections.arrivals import Arrival, Arrivals
from gateway.server.connections.middlewares import addresses_limited
from gateway.server.connections.peer import Peer, while_there
from gateway.server.listening import listening, set_up
from gateway.server.previews import tunnel
from gateway.sessions.upgrade import HandedOver
from gateway.settings import Settings
from tests.support.waiting import eventually


async def over_when_gone(request: web.Request, waits: asyncio.Event) -> None:
    """Wait for ever, and take as long over its end as the client is there."""

    async def has_gone() -> bool:
        return request.transport is None

    try:
        await asyncio.Event().wait()
    finally:
        waits.set()
        await eventually(has_gone)


@pytest.mark.parametrize("within_s", [None, 0.01], ids=["waits", "its time is just over"])
async def test_wait_ends_with_its_client(within_s: float | None) -> None:
    """Whoever goes ends what waits for them, once, also where its time is over and it is about to end anyway."""
    waits, ended, errors = asyncio.Event(), asyncio.Event(), list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))

    async def handle(request: web.Request) -> web.StreamResponse:
        with pytest.raises(TimeoutError):
            async with while_there(request, within_s=within_s):
                if within_s is None:
                    waits.set()
                await over_when_gone(request, waits)
        ended.set()
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handle)
    runner = await set_up(app, close_s=1)
    async with listening(runner, Settings(_env_file=None, port=0)) as (url, _):
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(30):
            await waits.wait()
            writer.close()
            await ended.wait()
    await runner.cleanup()
    assert errors == []


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel has no such option")
async def test_who_takes_nothing_of_its_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel: a handler that writes on and on hears of it, and waits for nobody for ever."""
    monkeypatch.setattr(tunnel, "DEAD_MS", 300)
    ended = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(bytes(1 << 20))
        finally:
            ended.set()

    app = web.Application()
    app.router.add_get("/", handle)
    runner = await set_up(app, close_s=1)
    async with listening(runner, Settings(_env_file=None, port=0)) as (url, _):
        with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as deaf:
            deaf.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(30):
                await ended.wait()
    await runner.cleanup()


async def test_who_has_gone_before_its_request_is_looked_at_does_no_harm() -> None:
    """Its connection is nobody's any more: the request goes on, and nothing fails for want of an address."""
    reached = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.transport is None
        reached.set()
        return web.Response()

    app = web.Application(middlewares=[addresses_limited])
    app.router.add_get("/", handle)
    runner = await set_up(app, close_s=1)
    assert runner.server is not None
    loop = asyncio.get_running_loop()
    arrivals = Arrivals(runner.server, AddressLimits(Settings(_env_file=None)), None, timeout_s=10)
    ours, theirs = socket.socketpair()
    with theirs:
        transport, arrival = await loop.create_connection(lambda: Arrival(arrivals), sock=ours)
        arrival.data_received(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # Behind the request's reading, before its handler.
        loop.call_soon(transport.get_protocol().connection_lost, None)
        async with asyncio.timeout(30):
            await reached.wait()
        transport.abort()
    await runner.cleanup()


class Heir(asyncio.Protocol):
    """Whom a connection is handed to."""

    def __init__(self) -> None:
        self.came = b""
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.came += data

    def connection_lost(self, _exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self.lost.set()


async def test_connection_that_is_handed_over_is_aiohttps_no_more() -> None:
    """It has what came behind the request, first; it outlives the server's cleanup; it counts until it is lost."""
    heir, gone, limits = Heir(), list[Any](), AddressLimits(Settings(_env_file=None))

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"yours\r\n")
        gone.append(cast("Peer", request.protocol).hand_over(heir))
        return HandedOver()

    async def has_heard(said: bytes) -> None:
        async def has() -> bool:
            return heir.came == said

        await eventually(has)

    app = web.Application(middlewares=[addresses_limited])
    app.router.add_get("/", handle)
    runner = await set_up(app, close_s=1)
    server = runner.server
    assert server is not None
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    arrivals = Arrivals(server, limits, None, timeout_s=10)
    await loop.create_connection(lambda: Arrival(arrivals), sock=ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbehind"
    )
    async with asyncio.timeout(30):
        assert await reader.readline() == b"yours\r\n"
        await has_heard(b"behind")
        await runner.cleanup()
        writer.write(b", and more")
        await has_heard(b"behind, and more")
        assert "1 connections" in repr(limits)
        writer.close()
        await heir.lost.wait()
        await writer.wait_closed()
    gone[0]()
    assert "0 connections" in repr(limits)
