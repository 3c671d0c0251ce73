"""A connection in memory: what one end sends the other receives, over a bounded pipe, on any loop's time."""

import asyncio
from collections import deque

from sandbox_bridge.errors import TransportClosed


class _Pipe:
    """One direction. A full one makes its sender wait."""

    def __init__(self, limit: int) -> None:
        self._frames: deque[str] = deque()
        self._limit = limit
        self._closed: TransportClosed | None = None
        self._changed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        return self._closed is not None

    async def put(self, text: str) -> None:
        while self._closed is None and len(self._frames) >= self._limit:
            await self._change()
        if self._closed is not None:
            raise self._closed
        self._frames.append(text)
        self._changed.set()

    async def get(self) -> str:
        while not self._frames:
            if self._closed is not None:
                raise self._closed
            await self._change()
        self._changed.set()
        return self._frames.popleft()

    def close(self, closed: TransportClosed, *, loses: bool) -> None:
        self._closed = self._closed or closed
        if loses:
            self._frames.clear()
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class MemoryTransport:
    """One end of a connection in memory: a `FrameTransport` without pings, so silence never ends it."""

    def __init__(self, inward: _Pipe, outward: _Pipe) -> None:
        self._inward = inward
        self._outward = outward

    @property
    def is_closed(self) -> bool:
        """Whether either end has closed it."""
        return self._inward.is_closed

    async def send(self, text: str) -> None:
        """Hand `text` to the other end. Raises `TransportClosed`."""
        await self._outward.put(text)

    async def recv(self) -> str:
        """The next frame; those sent before a close still come. Raises `TransportClosed`."""
        return await self._inward.get()

    async def aclose(self, code: int = 1000) -> None:
        """Close both directions, as a WebSocket does."""
        self.close_nowait(code)

    def close_nowait(self, code: int | None = None, *, loses: bool = False) -> None:
        """Close both directions, with a close code as the other end sees it; `loses` what is on its way."""
        closed = TransportClosed("the connection broke" if code is None else f"closed with {code}", code=code)
        self._inward.close(closed, loses=loses)
        self._outward.close(closed, loses=loses)


def memory_pair(limit: int = 64) -> tuple[MemoryTransport, MemoryTransport]:
    """Both ends of a new connection whose pipes hold `limit` frames each."""
    there, back = _Pipe(limit), _Pipe(limit)
    return MemoryTransport(back, there), MemoryTransport(there, back)
