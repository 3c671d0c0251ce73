"""Carrying requests to a site and back, between a real server, a real site and a real client."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import ClientSession, WSMsgType, web
from aiohttp.test_utils import TestServer
from yarl import URL

from gateway.agents.sites import NoSiteError
from gateway.server.listening import listening, set_up
from gateway.server.previews import forward
from gateway.server.previews.forward import VIA, Forwarder
from gateway.server.previews.hops import HEADER
from gateway.settings import Settings
from tests.support.waiting import eventually, let_pass

OURS = "a-token-of-ours"


async def is_ours(token: str) -> bool:
    """Whether it is ours."""
    return token == OURS


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def forwarded(handler: Handler, *, port: int | None = None) -> AsyncIterator[ClientSession]:
    """A client of a forwarder to a site that answers with `handler`, or to `port`."""
    site = TestServer(_app(handler), host="127.0.0.1")
    forwarder = Forwarder(is_ours)

    async def forward(request: web.Request) -> web.StreamResponse:
        try:
            return await forwarder.forward(request, f"http://127.0.0.1:{port or site.port}")
        except NoSiteError as error:
            return web.Response(status=error.status, text=error.words)

    door = await set_up(_app(forward), close_s=1)
    await site.start_server()
    try:
        async with (
            listening(door, Settings(_env_file=None, port=0)) as (url, _),
            ClientSession(url, auto_decompress=False) as client,
        ):
            yield client
    finally:
        await forwarder.aclose()
        await door.cleanup()
        await site.close()


def _app(handler: Handler) -> web.Application:
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", handler)
    return app


async def said(request: web.Request) -> web.Response:
    """All that a request said."""
    headers = [[name, value] for name, value in request.headers.items()]
    body = (await request.read()).decode("latin-1")
    return web.json_response(
        {"method": request.method, "path": request.raw_path, "headers": headers, "body": body}
    )


async def test_request_arrives_as_it_was_sent() -> None:
    """Method, path, query, name of the host, headers, also repeated ones, and body; our hop is named."""
    async with forwarded(said) as client:
        headers = [("Host", "label.preview.test"), ("X-Own", "1"), ("X-Own", "2"), ("Cookie", "a=b")]
        url = URL("/a%2Fb//c;d?q=%20&q=+", encoded=True)
        async with client.request("PROPFIND", url, headers=headers, data=b"\x00body") as answer:
            got = await answer.json()
    assert (got["method"], got["path"], got["body"]) == ("PROPFIND", "/a%2Fb//c;d?q=%20&q=+", "\x00body")
    sent = {(name.lower(), value) for name, value in got["headers"]}
    assert {(name.lower(), value) for name, value in headers} <= sent
    assert {("via", VIA), ("x-forwarded-host", "label.preview.test"), ("x-forwarded-proto", "https")} <= sent


async def test_what_is_about_one_hop_or_ours_stays_here() -> None:
    """Neither the connection's own headers, nor what was said of the client, nor a token of ours gets through."""
    hop = {"Connection": "keep-alive, x-secret", "X-Secret": "1", "Keep-Alive": "5", "TE": "trailers"}
    about = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1", "Proxy-Authorization": "Basic x"}
    async with forwarded(said) as client:
        for token, shown in ((OURS, False), ("the-sites-own", True)):
            headers = hop | about | {"Authorization": f"Bearer {token}"}
            async with client.get("/", headers=headers) as answer:
                got = {name.lower(): value for name, value in (await answer.json())["headers"]}
            assert not {"x-secret", "keep-alive", "te", "x-forwarded-for", "forwarded"} & got.keys()
            assert "proxy-authorization" not in got
            assert ("authorization" in got) is shown


async def test_answer_arrives_as_it_was_given() -> None:
    """Status, reason, repeated headers and a body that is encoded, unread by us."""

    async def answer(_request: web.Request) -> web.Response:
        headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Content-Encoding", "gzip"), ("X-Own", "x")]
        return web.Response(status=418, reason="Teapot", headers=headers, body=gzip.compress(b"hello"))

    async with forwarded(answer) as client, client.get("/") as got:
        assert (got.status, got.reason, got.headers["X-Own"]) == (418, "Teapot", "x")
        assert got.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert gzip.decompress(await got.read()) == b"hello"


async def test_redirect_is_the_browsers_to_follow() -> None:
    """And HEAD has its length and no body."""

    async def redirect(request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response(body=b"12345")
        raise web.HTTPFound("/elsewhere")

    async with forwarded(redirect) as client:
        async with client.get("/", allow_redirects=False) as got:
            assert (got.status, got.headers["Location"]) == (302, "/elsewhere")
        async with client.head("/") as got:
            assert (got.status, got.headers["Content-Length"], await got.read()) == (200, "5", b"")


async def test_streams_go_through_as_they_come() -> None:
    """A line of the request reaches the site before the next is sent, and so does its answer to it."""

    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in request.content.iter_any():
            await response.write(part)
        return response

    lines: asyncio.Queue[bytes | None] = asyncio.Queue(4)

    async def body() -> AsyncIterator[bytes]:
        while (line := await lines.get()) is not None:
            yield line

    async with forwarded(echo) as client:
        await lines.put(b"first")
        async with asyncio.timeout(10), client.post("/", data=body()) as got:
            assert await got.content.readany() == b"first"
            await lines.put(b"second")
            assert await got.content.readany() == b"second"
            await lines.put(None)
            assert await got.read() == b""


async def test_visitor_who_goes_takes_its_request_along() -> None:
    """The site sees that nobody reads any more."""
    gone = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            gone.set()

    async with forwarded(endless) as client:
        async with client.get("/") as got:
            await got.content.readany()
        async with asyncio.timeout(10):
            await gone.wait()


async def test_answer_that_breaks_off_is_seen_to_be_cut() -> None:
    """Who reads it must not take the half for the whole."""

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with forwarded(cut) as client, client.get("/") as got:
        with pytest.raises(aiohttp.ClientPayloadError):
            await got.read()


async def test_socket_is_joined_with_the_sites() -> None:
    """Text and bytes both ways, the site's choice of protocol, its origin's header, and its close code."""

    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["chat"])
        await socket.prepare(request)
        await socket.send_str(request.headers["Origin"] + str(request.headers["Sec-WebSocket-Protocol"]))
        async for message in socket:
            if message.data == "end":
                await socket.close(code=4321, message=b"enough")
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data * 2)
            else:
                await socket.send_bytes(message.data)
        return socket

    async with forwarded(talk) as client:
        offered = [f"bearer.{OURS}", "bearer.theirs", "chat"]
        async with client.ws_connect("/", protocols=offered, origin="https://its.own") as socket:
            assert await socket.receive_str(timeout=10) == "https://its.ownbearer.theirs,chat"
            assert socket.protocol == "chat"
            await socket.send_str("ab")
            assert await socket.receive_str(timeout=10) == "abab"
            await socket.send_bytes(b"\x00" * 100_000)
            assert await socket.receive_bytes(timeout=10) == b"\x00" * 100_000
            await socket.send_str("end")
            closed = await socket.receive(timeout=10)
            assert (closed.type, closed.data, closed.extra) == (WSMsgType.CLOSE, 4321, "enough")


async def test_socket_that_its_visitor_leaves_is_closed_at_the_site() -> None:
    """With the visitor's code; where its connection breaks the site's does."""
    codes: list[int | None] = []

    async def listen(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            async for _message in socket:
                pass
        finally:
            codes.append(socket.close_code)
        return socket

    async def has_ended() -> bool:
        return len(codes) == 2

    async with forwarded(listen) as client:
        async with client.ws_connect("/") as socket:
            await socket.close(code=4000)
        broken = await client.ws_connect("/")
        transport = broken._response.connection
        assert transport is not None
        assert transport.transport is not None
        transport.transport.abort()
        await eventually(has_ended, 10)
        await broken.close()
    assert codes == [4000, None]


async def test_site_waits_for_who_does_not_take_what_it_says() -> None:
    """No more is taken from it than the kernels hold; all of it comes when its visitor reads."""
    block, blocks, sent = b"x" * 65536, 1024, list[int]()

    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for _ in range(blocks):
            await socket.send_bytes(block)
            sent.append(len(block))
        return socket

    async def is_stuck() -> bool:
        before = len(sent)
        await let_pass(0.3)
        return 0 < len(sent) == before

    async with forwarded(talk) as client, client.ws_connect("/") as socket:
        # What it takes by itself, into its own queue, is little.
        await eventually(is_stuck, 30)
        assert sum(sent) < blocks * len(block) / 2
        for _ in range(blocks):
            assert await socket.receive_bytes(timeout=10) == block


async def test_answer_that_nobody_asked_for_is_none() -> None:
    """A site that takes a request for a WebSocket's joins nobody to itself."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello"
        )
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with forwarded(refuse, port=port) as client, client.get("/") as got:
            assert (got.status, "nobody asked" in await got.text()) == (502, True)


async def refuse(_request: web.Request) -> web.Response:
    """A site that is never asked."""
    raise AssertionError


@pytest.mark.parametrize(
    ("request_line", "status"),
    [({"headers": {"Via": f"1.0 x, {VIA}"}}, 508), ({"method": "TRACE"}, 405)],
)
async def test_request_that_leads_nowhere_is_refused(request_line: dict[str, object], status: int) -> None:
    """One that has been here before, and methods that are for proxies."""
    line = {"method": "GET", "url": "/"} | request_line
    async with forwarded(refuse) as client, client.request(**line) as got:  # type: ignore[arg-type]
        assert got.status == status


async def test_site_that_is_gone_or_speaks_something_else_is_told() -> None:
    """410 where nobody listens, 502 where what listens is no HTTP server; who takes no WebSocket says so itself."""
    async with forwarded(refuse, port=1) as client, client.get("/") as got:
        assert (got.status, "gone" in await got.text()) == (410, True)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with forwarded(refuse, port=port) as client, client.get("/") as got:
            assert (got.status, "hung up" in await got.text()) == (502, True)
    async with forwarded(said) as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.ws_connect("/")
        assert caught.value.status == 200


async def test_site_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """504, after a time; its visitors wait no longer than that for each other either."""
    monkeypatch.setattr(forward, "IDLE_S", 0.2)
    asked = asyncio.Event()

    async def sleep(_request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with forwarded(sleep) as client:
        async with client.get("/") as got:
            assert (got.status, "does not answer" in await got.text()) == (504, True)
        monkeypatch.setattr(forward, "IDLE_S", 60.0)
    assert asked.is_set()


async def test_visitor_who_stops_in_its_body_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that does not go on is over, for the site and for its visitor."""
    monkeypatch.setattr(forward, "IDLE_S", 0.2)

    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.Event().wait()

    async with forwarded(said) as client:
        with pytest.raises(aiohttp.ClientError):
            async with asyncio.timeout(10), client.post("/", data=body()) as got:
                assert got.status in {502, 504}
                raise aiohttp.ClientError


async def test_proof_of_a_hop_goes_to_an_instance_and_never_to_a_site() -> None:
    """What a visitor calls one is dropped; an instance is told one, and one that was asked so may hand on."""
    async with forwarded(said) as client, client.get("/", headers={HEADER: "made up"}) as answer:
        names = [name for name, _ in (await answer.json())["headers"]]
        assert HEADER not in names
    site = TestServer(_app(said), host="127.0.0.1")
    forwarder = Forwarder(is_ours)

    async def hop(request: web.Request) -> web.StreamResponse:
        return await forwarder.forward(request, f"http://127.0.0.1:{site.port}", proof="p", has_hopped=True)

    door = TestServer(_app(hop), host="127.0.0.1")
    await site.start_server()
    await door.start_server()
    async with (
        ClientSession(door.make_url("/")) as client,
        client.get("/", headers={"Via": VIA, HEADER: "made up"}) as answer,
    ):
        headers = (await answer.json())["headers"]
        assert [value for name, value in headers if name.lower() == HEADER.lower()] == ["p"]
    await forwarder.aclose()
    await door.close()
    await site.close()
