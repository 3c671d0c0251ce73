"""A client of the socket that writes whatever bytes it likes, and reads frames one by one."""

import asyncio
import base64
import json
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
WITHIN_S: Final = 30.0


def frame(
    payload: bytes = b"",
    opcode: int = TEXT,
    *,
    fin: int = 1,
    rsv: int = 0,
    mask: bytes | None = b"\x12\x34\x56\x78",
    says: int | None = None,
    wide: int | None = None,
) -> bytes:
    """One frame. `mask` None leaves the mask out; `says` is another length than the payload has, `wide` the bytes
    (0, 2, 8) that its length is written in."""
    length = len(payload) if says is None else says
    if wide is None:
        wide = 0 if length < 126 else 2 if length < 1 << 16 else 8
    short = {0: length, 2: 126, 8: 127}[wide]
    more = {0: b"", 2: struct.pack("!H", length & 0xFFFF), 8: struct.pack("!Q", length)}[wide]
    head = bytes([fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short]) + more
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def request(request_id: str = "1", *, size: int = 0) -> bytes:
    """A request that is answered by a `result`, of `size` bytes where that is given."""
    text = json.dumps({"type": "ping", "id": request_id}, ensure_ascii=False).encode()
    return text + b" " * (size - len(text))


def closing(code: int, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(struct.pack("!H", code) + reason, CLOSE)


class Served(Protocol):
    """A gateway that runs somewhere."""

    @property
    def url(self) -> str:
        """Where."""


@dataclass(frozen=True, slots=True)
class Door:
    """One of which no more is known than where it is."""

    url: str
    comes_from: str | None = None
    """The address that its clients have, another of this machine."""


@dataclass
class RawClient:
    """A socket that has shaken hands and been welcomed."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write it as it is."""
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame. Raises `EOFError` at the end."""
        async with asyncio.timeout(WITHIN_S):
            first, second = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80, "we send no fragments, and no reserved bits"
            assert second < 128, "a server's frames are not masked"
            length = second
            if second > 125:
                size = 2 if second == 126 else 8
                length = int.from_bytes(await self.reader.readexactly(size))
            return first & 0x0F, await self.reader.readexactly(length)

    async def answers(self, count: int) -> list[dict[str, Any]]:
        """So many text frames; nothing else may come between."""
        found = []
        for _ in range(count):
            opcode, payload = await self.read()
            assert opcode == TEXT, (opcode, payload)
            found.append(json.loads(payload))
        return found

    async def end(self) -> tuple[int | None, dict[str, Any] | None]:
        """How it is closed: the code of the close frame, and the goodbye before."""
        goodbye = None
        try:
            while True:
                opcode, payload = await self.read()
                if opcode == TEXT and json.loads(payload)["type"] == "goodbye":
                    goodbye = json.loads(payload)
                if opcode == CLOSE:
                    return (int.from_bytes(payload[:2]) if payload else None), goodbye
        except (EOFError, ConnectionError):
            raise AssertionError("cut off without a close frame") from None

    async def is_cut_off(self) -> None:
        """Return once nothing more can come."""
        async with asyncio.timeout(WITHIN_S):
            await is_over(self.reader)


async def is_over(reader: asyncio.StreamReader) -> None:
    """Return once nothing more can come; what still comes is thrown away."""
    try:
        while await reader.read(1 << 16):
            pass
    except ConnectionError:
        return


HANDSHAKE: Final = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "gateway.v1",
}


def handshake(
    url: str, changed: dict[str, str | None] | None = None, line: str = "GET /ws HTTP/1.1"
) -> bytes:
    """The request of a handshake; `changed` headers are as said, or left out where they are None."""
    key = base64.b64encode(os.urandom(16)).decode()
    headers = {"Host": urlsplit(url).netloc, "Sec-WebSocket-Key": key, **HANDSHAKE, **(changed or {})}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@asynccontextmanager
async def connected(
    gateway: Served,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which nothing has been said."""
    address, own = urlsplit(gateway.url), gateway.comes_from if isinstance(gateway, Door) else None
    local = (own, 0) if own is not None else None
    reader, writer = await asyncio.open_connection(address.hostname, address.port, local_addr=local)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def raw_client(gateway: Served, **headers: str) -> AsyncIterator[RawClient]:
    """A client that has been welcomed."""
    async with connected(gateway) as (reader, writer):
        writer.write(handshake(gateway.url, {**headers}))
        async with asyncio.timeout(WITHIN_S):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        found = RawClient(reader, writer)
        assert (await found.answers(1))[0]["type"] == "welcome"
        yield found
