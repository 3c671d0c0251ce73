"""Two connections made one: what comes by either goes out by the other as it came, no faster than that takes it."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

CLOSE_S: Final = 2.0
"""For what is under way, once either side has gone."""
DEAD_MS: Final = 120_000
"""Who takes nothing for so long of what waits for it, or whose kernel does not answer, has gone: by HTTP, and
between those two, nothing of ours can ask it."""


class End(asyncio.Protocol):
    """One side's connection; `other` is set before anything comes."""

    other: "End"

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.on_gone: Callable[[], None] = lambda: None
        """Told once, when there is no connection any more."""
        self.is_going = asyncio.Event()
        """Once either side has gone."""
        self.gone = asyncio.Event()
        watch_over(transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.gone.set()
        self.is_going.set()
        self.other.is_going.set()
        self.other.transport.close()
        self.on_gone()


def watch_over(transport: asyncio.BaseTransport) -> None:
    """Have the kernel end a connection whose other side is dead, see `DEAD_MS`."""
    raw = transport.get_extra_info("socket")
    if raw is None or raw.family == socket.AF_UNIX or not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    asked = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_USER_TIMEOUT": DEAD_MS}
    for name, value in asked.items():
        raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def until_gone(one: End, other: End) -> None:
    """Return when neither is there: where one goes the other does, within `CLOSE_S`. Cancelled, both are cut off."""
    try:
        await one.is_going.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await one.gone.wait()
                await other.gone.wait()
    finally:
        one.transport.abort()
        other.transport.abort()
