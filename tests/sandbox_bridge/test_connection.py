"""The WebSocket under a bridge, over real sockets."""

import asyncio
import contextlib
import http
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from sandbox_bridge.connection import dial
from sandbox_bridge.errors import TransportClosed
from tests.support.fake_sandbox import FakeSandbox
from tests.support.task_script import elapse

MS = 0.001
Handler = Callable[[ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """A WebSocket server at the yielded URL."""
    place: dict[str, Any] = {} if "sock" in options else {"host": "127.0.0.1", "port": 0}
    async with serve(handler, compression=None, **place, **options) as running:
        yield f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}/ws"


async def echo(connection: ServerConnection) -> None:
    """Send back what comes."""
    async for message in connection:
        await connection.send(message)


async def test_frames_go_both_ways_whole_and_in_order() -> None:
    """Frames of all sizes come back as they were sent."""
    async with server(echo, max_size=None) as url:
        transport = await dial(url)
        for frame in ["", "é✓", "x" * 1_000_000]:
            await transport.send(frame)
            assert await transport.recv() == frame
        await transport.aclose()


async def test_cancelled_recv_loses_nothing() -> None:
    """A frame that comes while nobody receives is there for the next who does."""
    async with server(echo) as url:
        transport = await dial(url)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10 * MS):
                await transport.recv()
        await transport.send("x")
        assert await transport.recv() == "x"
        await transport.aclose()


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:1/ws", "ws://no-such-host.invalid/", "http://127.0.0.1/", "x"]
)
async def test_dial_where_nobody_answers_is_transport_closed(url: str) -> None:
    """Whatever keeps a connection from being made is told in one way, with the address."""
    with pytest.raises(TransportClosed, match=url):
        await dial(url)


async def test_dial_shows_its_token_and_nothing_of_a_browser() -> None:
    """The token goes into `Authorization`; there is no `Origin` and no compression is offered."""
    seen: list[Request] = []

    def look(_: ServerConnection, request: Request) -> None:
        seen.append(request)

    async with server(echo, process_request=look) as url:
        await (await dial(url, token="secret")).aclose()  # noqa: S106
        await (await dial(url)).aclose()
    assert [request.headers.get("Authorization") for request in seen] == ["Bearer secret", None]
    assert "Origin" not in seen[0].headers
    assert "Sec-WebSocket-Extensions" not in seen[0].headers


async def test_dial_that_is_refused_says_why() -> None:
    """A refusal by HTTP is told with its status."""

    def refuse(connection: ServerConnection, _: Request) -> Response:
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no")

    async with server(echo, process_request=refuse) as url:
        with pytest.raises(TransportClosed, match="401"):
            await dial(url)


async def test_dial_ignores_the_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox is met directly."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "socks_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with server(echo) as url:
        await (await dial(url)).aclose()


async def test_dial_has_a_deadline() -> None:
    """A service that accepts and says nothing is given up."""
    began_at = asyncio.get_running_loop().time()
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TransportClosed):
        await dial(f"ws://127.0.0.1:{silent.getsockname()[1]}/", open_timeout_s=50 * MS)
    assert asyncio.get_running_loop().time() - began_at < 5


async def test_close_by_the_peer_is_told_with_its_code() -> None:
    """`recv` and `send` raise with the peer's close code."""

    async def leave(connection: ServerConnection) -> None:
        await connection.close(1012, "restart")

    async with server(leave) as url:
        transport = await dial(url)
        with pytest.raises(TransportClosed, match="restart") as caught:
            await transport.recv()
        assert caught.value.code == 1012
        with pytest.raises(TransportClosed):
            await transport.send("x")
        await transport.aclose()


async def test_broken_connection_has_no_code() -> None:
    """A connection that just ends is told without a code."""

    async def vanish(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with server(vanish) as url:
        transport = await dial(url)
        with pytest.raises(TransportClosed) as caught:
            await transport.recv()
        assert caught.value.code is None


async def test_binary_frame_ends_the_connection() -> None:
    """The protocol is text; a peer that sends anything else is told 1003."""
    codes: asyncio.Queue[int | None] = asyncio.Queue(1)

    async def binary(connection: ServerConnection) -> None:
        await connection.send(b"x")
        await connection.wait_closed()
        codes.put_nowait(connection.close_code)

    async with server(binary) as url:
        transport = await dial(url)
        with pytest.raises(TransportClosed, match="binary"):
            await transport.recv()
        assert await codes.get() == 1003
        await transport.aclose()


async def test_frame_beyond_the_limit_ends_the_connection() -> None:
    """A larger frame than was allowed for is never put together."""

    async def large(connection: ServerConnection) -> None:
        await connection.send("x" * 2000)
        await connection.wait_closed()

    async with server(large) as url:
        transport = await dial(url, max_frame_bytes=1000)
        with pytest.raises(TransportClosed):
            await transport.recv()
        await transport.aclose()


async def test_silent_peer_is_given_up() -> None:
    """A peer that neither answers pings nor sends anything is gone after the silence it is allowed."""

    async def freeze(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await connection.wait_closed()

    loop = asyncio.get_running_loop()
    async with server(freeze, close_timeout=0.1) as url:
        transport = await dial(url, ping_interval_s=50 * MS, silence_s=150 * MS)
        began_at = loop.time()
        with pytest.raises(TransportClosed, match="no sign of life"):
            await transport.recv()
        assert 0.1 < loop.time() - began_at < 1.5
        await transport.aclose()


async def sip(connection: ServerConnection) -> None:
    """Read a little now and then, until a frame is through; then send back its length."""
    taking = asyncio.ensure_future(connection.recv())
    while not taking.done():
        connection.transport.pause_reading()
        await elapse(20 * MS)
        connection.transport.resume_reading()
        await elapse(0)
    await connection.send(f"{len(await taking)}")
    await connection.wait_closed()


async def test_peer_that_takes_a_large_frame_slowly_is_kept() -> None:
    """A frame that goes out bit by bit is life, though no pong can come before it is through."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as narrow:
        # The less the peer's kernel takes on its own, the sooner it is felt how slow the peer is.
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        async with server(sip, max_size=None, ping_interval=None, sock=narrow) as url:
            transport = await dial(url, ping_interval_s=50 * MS, silence_s=300 * MS)
            began_at = loop.time()
            answer, _ = await asyncio.gather(transport.recv(), transport.send("x" * (4 << 20)))
            assert answer == f"{4 << 20}"
            assert loop.time() - began_at > 600 * MS
            await transport.aclose()


async def test_idle_peer_that_answers_pings_is_kept() -> None:
    """Nothing to say is no reason to be given up."""
    async with server(echo, ping_interval=None) as url:
        transport = await dial(url, ping_interval_s=20 * MS, silence_s=100 * MS)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(500 * MS):
                await transport.recv()
        await transport.aclose()


async def test_connection_that_is_not_read_for_long_is_kept() -> None:
    """Output that nobody takes for a while holds the peer back and does not make it look dead."""
    frames = 400

    async def flood(connection: ServerConnection) -> None:
        for number in range(frames):
            await connection.send(f"{number} " + "x" * 50_000)
        await connection.wait_closed()

    async with server(flood, ping_interval=None) as url:
        transport = await dial(url, ping_interval_s=20 * MS, silence_s=100 * MS)
        await elapse(500 * MS)
        for number in range(frames):
            assert (await transport.recv()).startswith(f"{number} ")
        await transport.aclose()


async def test_aclose_is_quick_and_can_be_repeated() -> None:
    """A peer that does not answer the close delays it by no more than its timeout."""

    async def freeze(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await connection.wait_closed()

    loop = asyncio.get_running_loop()
    async with server(freeze, close_timeout=0.1) as url:
        transport = await dial(url, close_timeout_s=50 * MS)
        began_at = loop.time()
        await transport.aclose()
        await transport.aclose()
        assert loop.time() - began_at < 1


async def test_fake_sandbox_checks_its_token() -> None:
    """The fake refuses who does not show its token."""
    async with FakeSandbox(token="right") as fake:  # noqa: S106
        await (await dial(fake.url, token="right")).aclose()  # noqa: S106
        with pytest.raises(TransportClosed, match="401"):
            await dial(fake.url, token="wrong")  # noqa: S106
