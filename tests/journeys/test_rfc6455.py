"""RFC 6455 from raw sockets: what is taken, what is refused, and with which code."""

import asyncio
import contextlib
import itertools
from typing import Final

import pytest

from gateway.sessions.reading import MAX_PIECES
from tests.support.gateway import GatewayProcess
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    closing,
    connected,
    frame,
    handshake,
    raw_client,
    request,
)

pytestmark = pytest.mark.journey

MAX: Final = 1 << 20
GREEK: Final = request("κόσμε")


def in_pieces(payload: bytes, *cuts: int, between: bytes = b"") -> bytes:
    """A message in frames, cut at `cuts`, with `between` after each but the last."""
    edges = [0, *cuts, len(payload)]
    pieces = [payload[a:b] for a, b in itertools.pairwise(edges)]
    made = [
        frame(piece, TEXT if i == 0 else 0, fin=int(i == len(pieces) - 1)) for i, piece in enumerate(pieces)
    ]
    return between.join(made)


TAKEN: Final[dict[str, tuple[bytes, list[int]]]] = {
    "text, length in 7 bits": (frame(request(size=125)), [TEXT]),
    "text, length in 16 bits, least": (frame(request(size=126)), [TEXT]),
    "text, length in 16 bits, most": (frame(request(size=65535)), [TEXT]),
    "text, length in 64 bits, least": (frame(request(size=65536)), [TEXT]),
    "text of the largest size": (frame(request(size=MAX)), [TEXT]),
    "mask of zeros": (frame(request(), mask=b"\0\0\0\0"), [TEXT]),
    "mask of ones": (frame(request(), mask=b"\xff\xff\xff\xff"), [TEXT]),
    "two messages in one write": (frame(request()) * 2, [TEXT, TEXT]),
    "two fragments": (in_pieces(request(), 5), [TEXT]),
    "a fragment a byte": (in_pieces(request(), *range(1, len(request()))), [TEXT]),
    "first fragment empty": (in_pieces(request(), 0), [TEXT]),
    "last fragment empty": (in_pieces(request(), len(request())), [TEXT]),
    "all but one empty": (in_pieces(request(), 0, 0, 0, 9, 9, 9), [TEXT]),
    "as many fragments as are taken": (in_pieces(request(), *[0] * (MAX_PIECES - 2)), [TEXT]),
    "ping between fragments": (in_pieces(request(), 5, between=frame(b"p", PING)), [PONG, TEXT]),
    "pings between many fragments": (
        in_pieces(request(), 1, 2, 3, between=frame(b"", PING)),
        [PONG] * 3 + [TEXT],
    ),
    "pong between fragments": (in_pieces(request(), 5, between=frame(b"p", PONG)), [TEXT]),
    "character cut by a fragment": (in_pieces(GREEK, GREEK.index("κ".encode()) + 1), [TEXT]),
    "a character of four bytes, a fragment a byte": (
        in_pieces(request("😀"), *range(1, len(request("😀")))),
        [TEXT],
    ),
    "the largest character": (frame(request("\U0010ffff")), [TEXT]),
    "a noncharacter": (frame(request("\ufffe\uffff")), [TEXT]),
    "the last below the surrogates": (frame(request("\ud7ff\ue000")), [TEXT]),
    "a message in fragments of its largest size": (in_pieces(request(size=MAX), 70_000, 140_000), [TEXT]),
    "ping": (frame(b"", PING), [PONG]),
    "ping with a byte": (frame(b"x", PING), [PONG]),
    "ping of bytes that are no text": (frame(b"\xff\xfe\x00", PING), [PONG]),
    "ping of the largest size": (frame(b"x" * 125, PING), [PONG]),
    "ten pings": (b"".join(frame(bytes([i]), PING) for i in range(10)), [PONG] * 10),
    "pong that nobody asked for": (frame(b"x", PONG) + frame(request()), [TEXT]),
    "pong of the largest size": (frame(b"x" * 125, PONG) + frame(request()), [TEXT]),
    "ping and message": (frame(b"x", PING) + frame(request()), [PONG, TEXT]),
}
"""What is sent, and the kinds of the frames that answer it."""


@pytest.mark.parametrize("name", TAKEN)
async def test_frame_is_taken(gateway: GatewayProcess, name: str) -> None:
    """What RFC 6455 allows is answered, in one write and in writes of a few bytes; a pong repeats its ping."""
    sent, kinds = TAKEN[name]
    async with raw_client(gateway) as me:
        await me.send(sent)
        got = [await me.read() for _ in kinds]
        assert [opcode for opcode, _ in got] == kinds or sorted(opcode for opcode, _ in got) == sorted(kinds)
        if kinds == [PONG]:
            assert frame(got[0][1], PING) == sent
        if len(sent) < 200:
            for at in range(len(sent)):
                await me.send(sent[at : at + 1])
            assert sorted([(await me.read())[0] for _ in kinds]) == sorted(kinds)


BAD_TEXTS: Final = {
    "a lone continuation": b"\x80",
    "the last lone continuation": b"\xbf",
    "a lone first of two": b"\xc3",
    "a first of two, then ASCII": b"\xc3(",
    "a first of three, then one": b"\xe2\x82",
    "a first of four, then two": b"\xf0\x9f\x98",
    "overlong slash in two": b"\xc0\xaf",
    "overlong slash in three": b"\xe0\x80\xaf",
    "overlong slash in four": b"\xf0\x80\x80\xaf",
    "overlong NUL": b"\xc0\x80",
    "the largest overlong of three": b"\xe0\x9f\xbf",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "after good text": "κόσμε".encode() + b"\xed\xa0\x80edited",
}

REFUSED: Final[dict[str, tuple[bytes, int]]] = {
    **{f"opcode {n}": (frame(b"", n), 1002) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"opcode {n} with a payload": (frame(b"x" * 10, n), 1002) for n in (3, 7, 11, 15)},
    **{f"reserved bits {n:03b} on text": (frame(request(), rsv=n), 1002) for n in range(1, 8)},
    **{f"reserved bits {n:03b} on a ping": (frame(b"", PING, rsv=n), 1002) for n in (1, 2, 4, 7)},
    **{f"reserved bits {n:03b} on a close": (frame(b"", CLOSE, rsv=n), 1002) for n in (1, 4)},
    "reserved bit on a continuation": (frame(b"a", fin=0) + frame(b"b", 0, rsv=4), 1002),
    "no mask on text": (frame(request(), mask=None), 1002),
    "no mask on a ping": (frame(b"", PING, mask=None), 1002),
    "no mask on a pong": (frame(b"", PONG, mask=None), 1002),
    "no mask on a close": (frame(b"\x03\xe8", CLOSE, mask=None), 1002),
    "no mask on a continuation": (frame(b"a", fin=0) + frame(b"b", 0, mask=None), 1002),
    "no mask on a long text": (frame(request(size=70_000), mask=None), 1002),
    "ping in fragments": (frame(b"", PING, fin=0), 1002),
    "pong in fragments": (frame(b"", PONG, fin=0), 1002),
    "close in fragments": (frame(b"\x03\xe8", CLOSE, fin=0), 1002),
    "ping of 126 bytes": (frame(b"x" * 126, PING), 1002),
    "pong of 126 bytes": (frame(b"x" * 126, PONG), 1002),
    "close of 126 bytes": (frame(b"\x03\xe8" + b"x" * 124, CLOSE), 1002),
    "ping of 64 KiB": (frame(b"x" * 65536, PING), 1002),
    "a continuation of nothing": (frame(b"x", 0), 1002),
    "a continuation of nothing, to be continued": (frame(b"x", 0, fin=0), 1002),
    "a continuation after the end": (in_pieces(request(), 5) + frame(b"x", 0), 1002),
    "text within a message": (frame(b"a", fin=0) + frame(b"b"), 1002),
    "binary within a message": (frame(b"a", fin=0) + frame(b"b", BINARY), 1002),
    "a length of 16 bits for 125 bytes": (frame(request(size=125), wide=2), 1002),
    "a length of 64 bits for 125 bytes": (frame(request(size=125), wide=8), 1002),
    "a length of 64 bits for 65535 bytes": (frame(request(size=65535), wide=8), 1002),
    "one fragment more than is taken": (in_pieces(request(), *[0] * MAX_PIECES), 1002),
    "a byte more than is taken": (frame(b" " * (MAX + 1)), 1009),
    "a byte more in fragments": (in_pieces(b" " * (MAX + 1), 60_000, 600_000), 1009),
    "a length of 2^40 said": (frame(b"x", says=1 << 40, wide=8), 1009),
    "a length of 2^63-1 said": (frame(b"x", says=(1 << 63) - 1, wide=8), 1009),
    "a length of 2^31 said": (frame(b"x", says=1 << 31, wide=8), 1009),
    "binary": (frame(b"x", BINARY), 1003),
    "binary, empty": (frame(b"", BINARY), 1003),
    "binary in fragments": (frame(b"x", BINARY, fin=0) + frame(b"y", 0), 1003),
    **{f"text: {name}": (frame(text), 1007) for name, text in BAD_TEXTS.items()},
    "bad text in fragments": (frame(b"\xed", fin=0) + frame(b"\xa0\x80", 0), 1007),
    "close of one byte": (frame(b"\x03", CLOSE), 1002),
    **{
        f"close with {code}": (closing(code), 1002)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "close with words that are no text": (closing(1000, b"\xff"), 1007),
}
"""What is sent, and the code with which it is answered."""


@pytest.mark.parametrize("name", REFUSED)
async def test_frame_is_refused(gateway: GatewayProcess, name: str) -> None:
    """What RFC 6455 forbids ends the connection with its code, a goodbye before it, and the socket with it."""
    sent, code = REFUSED[name]
    async with raw_client(gateway) as me:
        await me.send(sent)
        ended, goodbye = await me.end()
        assert ended == code
        assert goodbye is not None
        assert (goodbye["code"], goodbye["reconnect"]) == (code, False)
        with contextlib.suppress(ConnectionError):
            await me.send(closing(1000))
        await me.is_cut_off()


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
async def test_close_is_answered_with_its_code(gateway: GatewayProcess, code: int) -> None:
    """A close that may be sent is echoed (section 5.5.1), also with the longest reason; then the socket ends."""
    for reason in (b"", "κ".encode(), b"x" * 123):
        async with raw_client(gateway) as me:
            await me.send(closing(code, reason) + frame(request()))
            assert await me.end() == (code, None)
            await me.is_cut_off()


async def test_close_without_a_code_is_answered(gateway: GatewayProcess) -> None:
    """An empty close is no error."""
    async with raw_client(gateway) as me:
        await me.send(frame(b"", CLOSE))
        assert (await me.end())[0] in {None, 1000}
        await me.is_cut_off()


def test_there_are_more_than_a_hundred() -> None:
    """As many as the issue asks for."""
    assert len(TAKEN) + len(REFUSED) > 100


# --- the handshake -----------------------------------------------------------------------------------

HANDSHAKES: Final[dict[str, tuple[dict[str, str | None], str, int]]] = {
    "as it should be": ({}, "GET /ws HTTP/1.1", 101),
    "names of headers in capitals": ({"Upgrade": None, "UPGRADE": "WebSocket"}, "GET /ws HTTP/1.1", 101),
    "one token of many": ({"Connection": "keep-alive, Upgrade"}, "GET /ws HTTP/1.1", 101),
    "our subprotocol among others": ({"Sec-WebSocket-Protocol": "x, gateway.v1"}, "GET /ws HTTP/1.1", 101),
    "extensions, which are not taken": (
        {"Sec-WebSocket-Extensions": "permessage-deflate"},
        "GET /ws HTTP/1.1",
        101,
    ),
    "a query": ({}, "GET /ws?session_id=nobody HTTP/1.1", 101),
    "no subprotocol": ({"Sec-WebSocket-Protocol": None}, "GET /ws HTTP/1.1", 400),
    "another subprotocol": ({"Sec-WebSocket-Protocol": "gateway.v2"}, "GET /ws HTTP/1.1", 400),
    "no upgrade": ({"Upgrade": None}, "GET /ws HTTP/1.1", 400),
    "another upgrade": ({"Upgrade": "h2c"}, "GET /ws HTTP/1.1", 400),
    "no connection": ({"Connection": None}, "GET /ws HTTP/1.1", 400),
    "no key": ({"Sec-WebSocket-Key": None}, "GET /ws HTTP/1.1", 400),
    "a short key": ({"Sec-WebSocket-Key": "AAAA"}, "GET /ws HTTP/1.1", 400),
    "a key that is no base64": ({"Sec-WebSocket-Key": "!" * 24}, "GET /ws HTTP/1.1", 400),
    "no version": ({"Sec-WebSocket-Version": None}, "GET /ws HTTP/1.1", 400),
    "another version": ({"Sec-WebSocket-Version": "12"}, "GET /ws HTTP/1.1", 400),
    "a foreign host": ({"Host": "evil.example"}, "GET /ws HTTP/1.1", 403),
    "a foreign origin": ({"Origin": "http://evil.example"}, "GET /ws HTTP/1.1", 403),
    "the origin of nobody": ({"Origin": "null"}, "GET /ws HTTP/1.1", 403),
    "another method": ({"Content-Length": "0"}, "POST /ws HTTP/1.1", 405),
    "another path": ({}, "GET /ws/ HTTP/1.1", 404),
    "no HTTP": ({}, "GET /ws", 400),
    "an HTTP before handshakes": ({}, "GET /ws HTTP/1.0", 400),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_handshake_is_answered(gateway: GatewayProcess, name: str) -> None:
    """A handshake is upgraded or refused by HTTP; never with an extension, and with our subprotocol alone."""
    changed, line, status = HANDSHAKES[name]
    async with connected(gateway) as (reader, writer):
        writer.write(handshake(gateway.url, changed, line))
        async with asyncio.timeout(30):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.split()[1] == str(status), head
        assert "extensions" not in head.lower()
        assert ("Sec-WebSocket-Protocol: gateway.v1\r\n" in head) is (status == 101)
