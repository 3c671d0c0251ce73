"""A handshake on both of its ways: answered in the turn that reads it, and by way of aiohttp."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.server.connections.address_limits import Slot
from gateway.server.connections.arrivals import Arrivals
from gateway.server.connections.peer import Peer
from gateway.server.listening import listening, set_up
from gateway.settings import Settings
from tests.support.hostile_frames import framed
from tests.support.http_calls import SECRET, token
from tests.support.in_process import serving
from tests.support.raw_websocket import HANDSHAKE, closing
from tests.support.records import deterministic

WITHIN_S: Final = 30
MINE: Final = "10000000-0000-8000-8000-000000000000"
# Of each list the first is good.
LINES: Final = [
    "GET /ws HTTP/1.1",
    f"GET /ws?session_id={MINE} HTTP/1.1",
    "GET /ws?session_id=%zz&a=b&a=c HTTP/1.1",
    "GET /ws?#fragment HTTP/1.1",
    "GET /ws?a HTTP/1.0",
    "GET /ws?a HTTP/1.2",
    "GET http://localhost/ws HTTP/1.1",
    "GET //ws HTTP/1.1",
    "GET /%77s HTTP/1.1",
    "GET /ws/ HTTP/1.1",
    "GET /ws/../v1/tasks HTTP/1.1",
    "GET /livez HTTP/1.1",
    "HEAD /ws HTTP/1.1",
    "POST /ws HTTP/1.1",
    "get /ws HTTP/1.1",
    "GET /ws?" + "x" * 9000 + " HTTP/1.1",
]
SHOWN: Final = [
    f"Authorization: Bearer {token()}",
    f"Sec-WebSocket-Protocol: bearer.{token()}",
    f"X: {token()}",
    *(
        f"Authorization: Bearer {shown}"
        for shown in (
            token(scope="admin"),
            token(scope="sandbox"),
            token(secret=SECRET[::-1]),
            token(exp=1),
            jwt.encode({"sub": "alice"}, "", algorithm="none"),
            "",
            "x" * 17_000,
        )
    ),
]
GOOD: Final = ["Host: localhost", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="] + [
    f"{name}: {value}" for name, value in HANDSHAKE.items()
]
ODD: Final = [
    "Cookie: a=b",
    "Host: 127.0.0.1",
    "Host: evil.example",
    "Host: here.preview.example",
    "Origin: http://localhost",
    "Origin: https://evil.example",
    "Content-Length: 0",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "Connection: close",
    "connection: keep-alive, UPGRADE",
    "Sec-WebSocket-Version: 12",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Key: short",
    "Sec-WebSocket-Protocol: other",
    "Sec-WebSocket-Protocol: other, gateway.v1",
    f"Session-Id: {MINE}",
    "X-Forwarded-For: 203.0.113.9",
    "Content-Encoding: gzip",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Folded: a\r\n b",
    "Space : a",
    "Nul: \0",
    "No colon",
    "X: " + "x" * 9000,
]
CHANGES: Final[list[Callable[[str], str]]] = [str, str.upper, str.lower, str.title]
BEHIND: Final = [b"", b"\x89\x80\r\n\r\n"]
"""The second is a ping."""


def head(
    line: str, shown: str, lines: Sequence[str], change: Callable[[str], str] = str, behind: bytes = b""
) -> bytes:
    """That of a request, with the names of its headers changed."""
    named = [change(name) + colon + value for name, colon, value in (one.partition(":") for one in lines)]
    return "\r\n".join([line, *named, shown, "", ""]).encode("latin-1") + behind


def with_one_change() -> Iterator[bytes]:
    """A good head, and all that are good but for one thing."""
    good = LINES[0], SHOWN[0], GOOD
    yield from (head(line, *good[1:]) for line in LINES)
    yield from (head(LINES[0], shown, GOOD) for shown in SHOWN)
    yield from (head(*good, behind=behind) for behind in BEHIND)
    yield from (head(*good, change) for change in CHANGES)
    for odd in ODD:
        others = _without(odd)
        yield from (head(*good[:2], [*lines, odd]) for lines in (GOOD, others))
        yield head(*good[:2], [odd, *others])
    yield from (head(*good[:2], _without(one)) for one in GOOD)


def _without(odd: str) -> list[str]:
    name = odd.partition(":")[0].lower() + ":"
    return [line for line in GOOD if not line.lower().startswith(name)]


def _mostly(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    return st.just(values[0]) | st.just(values[0]) | st.sampled_from(values)


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A head that may be anything, and mostly is almost good."""
    odd = draw(st.lists(st.sampled_from(ODD), max_size=2))
    lines = [line for line in GOOD if draw(st.integers(0, 20))] + odd
    return head(
        draw(_mostly(LINES)),
        draw(_mostly(SHOWN)),
        draw(st.permutations(lines)),
        draw(st.sampled_from(CHANGES)),
        draw(_mostly(BEHIND)),
    )


class Client:
    """Whoever asks the gateway at `url`, and blocks."""

    def __init__(self, url: str) -> None:
        self._address = ("127.0.0.1", urlsplit(url).port)

    def answers(self, *pieces: bytes) -> tuple[bytes, bytes]:
        """Head of the answer to these, each read by itself, and what came behind it; without what differs each time."""
        with socket.create_connection(self._address, WITHIN_S) as to, to.makefile("rb") as said:
            for piece in pieces:
                to.sendall(piece)
                if piece is not pieces[-1]:
                    self.waits()
            top = b"".join(iter(said.readline, b"\r\n"))
            if b" 101 " in top:
                to.sendall(closing(1000))
                return _settled(top), _settled(said.read())
            return _settled(top), b"" if pieces[0].startswith(b"H") else said.read(_length(top))

    def waits(self) -> None:
        """Return when the gateway has read what was there: its loop has turned, and turned again."""
        with socket.create_connection(self._address, WITHIN_S) as to:
            for _ in range(2):
                to.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                to.recv(1 << 16)


def _length(top: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: (\d+)", top, re.IGNORECASE)
    return int(found[1]) if found else 0


def _settled(answer: bytes) -> bytes:
    return re.sub(rb'"(session_id|time)":"[^"]*"|Date: [^\r]*', b"", answer)


async def test_both_ways_answer_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a head is like: whole, which may be answered at once, or in two pieces, which is aiohttp's. What is
    answered at once is a welcome; that is so for good ones."""
    peers, at_once, make = list[Any](), list[bytes](), Arrivals.peer
    doors = {"preview_host": "preview.example", "allowed_hosts": ("here.preview.example",)}

    def peer(arrivals: Arrivals, slot: Slot) -> Peer:
        peers.append(slot)
        return make(arrivals, slot)

    def holds(asks: Client, whole: bytes, cut: int = 1) -> None:
        in_pieces = asks.answers(whole[:cut], whole[cut:])
        peers.clear()
        assert asks.answers(whole) == in_pieces
        if not peers:
            at_once.append(whole)
            assert in_pieces[0].startswith(b"HTTP/1.1 101 ")
            assert b'"welcome"' in in_pieces[1]

    monkeypatch.setattr(Arrivals, "peer", peer)
    async with serving(tmp_path / "data", auth="jwt", jwt_secret=SECRET, **doors) as url:
        asks = Client(url)

        def hold() -> None:
            for whole in with_one_change():
                holds(asks, whole)
            assert head(LINES[0], SHOWN[0], GOOD) in at_once
            given(changed(), st.integers(1, 20))(settings(deterministic, max_examples=50)(any_holds))()

        def any_holds(whole: bytes, cut: int) -> None:
            holds(asks, whole, cut)

        await asyncio.to_thread(hold)


async def test_silent_connection_ends_with_the_server() -> None:
    """Nobody waits for it."""
    runner = await set_up(web.Application(), close_s=1)
    hour = Settings(_env_file=None, port=0, handshake_timeout_s=3600)
    async with listening(runner, hour) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        await asyncio.to_thread(Client(url).waits)
    async with asyncio.timeout(WITHIN_S):
        assert await reader.read() == b""
    writer.close()
    await runner.cleanup()


async def test_who_begins_with_a_frame_is_told_that_it_is_no_http(tmp_path: Path) -> None:
    """Though a short one is read as a client's is: aiohttp has the very bytes that came."""
    async with serving(tmp_path / "data") as url:
        asks = Client(url)
        whole, in_pieces = framed(b"text"), (framed(b"text")[:1], framed(b"text")[1:])
        at_once = await asyncio.to_thread(asks.answers, whole)
        assert b" 400 Bad Request" in at_once[0]
        assert at_once == await asyncio.to_thread(asks.answers, *in_pieces)
