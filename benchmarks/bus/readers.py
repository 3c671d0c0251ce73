"""Clients that cost little: they read frames off the socket, and say of each event when its bytes were there."""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import urlsplit

import orjson

from tests.support.gateway import GatewayProcess
from tests.support.raw_websocket import frame

WITHIN_S: Final = 60.0

OnEvent = Callable[[dict[str, Any], int], None]
"""(event, when it was there by the machine's monotonic clock, in ns)"""


class Reader(asyncio.Protocol):
    """One socket; `on_event` hears every event."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._buffer = bytearray()
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._transport: asyncio.WriteTransport | None = None
        self._is_open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = writing = cast("asyncio.WriteTransport", transport)
        host, port = transport.get_extra_info("peername")[:2]
        key = base64.b64encode(os.urandom(16)).decode()
        writing.write(
            f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: gateway.v1\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        now_ns = time.monotonic_ns()
        self._buffer += data
        if not self._is_open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                raise AssertionError(bytes(self._buffer[:200]))
            del self._buffer[: end + 4]
            self._is_open = True
        at = 0
        while (found := _frame_at(self._buffer, at)) is not None:
            payload, at = found
            self._take(payload, now_ns)
        del self._buffer[:at]

    def _take(self, payload: bytes, now_ns: int) -> None:
        said = orjson.loads(payload) if payload else {"type": "ping"}
        if said["type"] == "event":
            self._on_event(said, now_ns)
        elif said["type"] == "welcome":
            self.opened.set_result(None)
        elif said["type"] in {"result", "error"}:
            self._answers.pop(said["id"]).set_result(said)

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The answer's result. Raises AssertionError where it is an error."""
        if self._transport is None:
            raise AssertionError("not connected")
        request_id = f"{len(self._answers)}-{time.monotonic_ns()}"
        answer = self._answers[request_id] = asyncio.get_running_loop().create_future()
        self._transport.write(frame(orjson.dumps({"type": kind, "id": request_id, **fields})))
        async with asyncio.timeout(WITHIN_S):
            said = await answer
        if said["type"] == "error":
            raise AssertionError(said)
        result: dict[str, Any] = said["result"]
        return result

    def close(self) -> None:
        """Go without a word."""
        if self._transport is not None:
            self._transport.abort()


def _frame_at(buffer: bytearray, at: int) -> tuple[bytes, int] | None:
    """The payload of the frame that begins there, and where the next begins; None where it is not whole."""
    if len(buffer) < at + 2:
        return None
    length, begin = buffer[at + 1] & 127, at + 2
    if length > 125:
        wide = 2 if length == 126 else 8
        length, begin = int.from_bytes(buffer[begin : begin + wide], "big"), begin + wide
    end = begin + length
    return (bytes(buffer[begin:end]), end) if len(buffer) >= end else None


@asynccontextmanager
async def readers(gateway: GatewayProcess, count: int, on_event: OnEvent) -> AsyncIterator[list[Reader]]:
    """So many connected clients of one gateway."""
    loop, address = asyncio.get_running_loop(), urlsplit(gateway.url)
    host, port = str(address.hostname), address.port or 80
    made: list[Reader] = []
    try:
        for _ in range(count):
            _, reader = await loop.create_connection(lambda: Reader(on_event), host, port)
            made.append(reader)
            async with asyncio.timeout(WITHIN_S):
                await reader.opened
        yield made
    finally:
        for reader in made:
            reader.close()
