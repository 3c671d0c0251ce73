"""A WebSocket whose messages somebody awaits one after the other: a sandbox's that dialled in, or who is refused.

It reads as a client's does, by the same rules and at the same pace.
"""

import asyncio
from collections import deque
from typing import Final, Self, cast

from aiohttp import web

from gateway.sessions.client_socket import FRAMES_A_TURN, ClientSocket
from gateway.sessions.pace import Pace
from gateway.sessions.reading import BROKEN, CONTROLS_BURST, CONTROLS_PER_S, BrokenError, text_of
from gateway.sessions.upgrade import HandsOver
from gateway.token_bucket import TokenBucket
from gateway.wire import PING, close_frame, pong_frame, text_frame

MAX_WAITING_BYTES: Final = 64 << 10
"""Of messages that wait to be awaited, of which there are `FRAMES_A_TURN` at most; a single larger one may."""
LOST: Final = 1006
"""The code of a connection that has gone without a close (RFC 6455 section 7.1.5)."""


class SocketClosedError(Exception):
    """Nothing is said any more. `code` is what the peer has closed with, or what it is closed for."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ServedSocket(ClientSocket):
    """One that listens to itself, and keeps what it hears until that is awaited: little, for it is not read then."""

    def __init__(self, transport: asyncio.Transport, *, max_bytes: int, pace: Pace | None = None) -> None:
        super().__init__(transport, self, max_bytes=max_bytes, pace=pace)
        self._controls = TokenBucket(CONTROLS_PER_S, CONTROLS_BURST, asyncio.get_running_loop().time)
        self._heard: deque[str | bytes] = deque()
        self._heard_bytes = 0
        self._is_full = False
        self._has_closed = False
        """Whether our close is said."""
        self._code: int | None = None
        """See `SocketClosedError`."""
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    def of(cls, request: web.Request, answer: bytes, *, max_bytes: int, pace: Pace | None = None) -> Self:
        """The connection of `request`, taken over behind `answer`. Raises ConnectionResetError where it has gone."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the peer has gone")
        socket = cls(transport, max_bytes=max_bytes, pace=pace)
        transport.write(answer)
        socket.on_gone = cast("HandsOver", request.protocol).hand_over(socket)
        return socket

    # --- for whoever serves it ----------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing can be said any more."""
        return self._has_closed or self.transport.is_closing()

    async def recv(self) -> str | bytes:
        """The next message. Cancelled, it loses none. Raises `SocketClosedError`."""
        while not self._heard:
            if self._code is not None:
                raise SocketClosedError(self._code)
            self._news.clear()
            await self._news.wait()
        message = self._heard.popleft()
        if not self._heard:
            self._heard_bytes = 0
            if self._is_full:
                # Not here: whoever awaits on and on would never let others have their turn.
                self._is_full = False
                asyncio.get_running_loop().call_soon(self.release)
        return message

    async def send(self, text: str) -> None:
        """Send a message; waits while the peer is slow. Raises `SocketClosedError`."""
        if self.is_over:
            raise SocketClosedError(LOST if self._code is None else self._code)
        self.transport.write(text_frame(text.encode()))
        await self._writable.wait()

    def ping(self) -> None:
        """Ask for a sign of life."""
        if not self.is_over:
            self.transport.write(PING)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, politely; the connection is gone afterwards, within `CLOSE_TIMEOUT_S`."""
        self._say_close(code, reason)
        await self._gone.wait()

    # --- what the transport says ------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()

    # --- what it hears ------------------------------------------------------------------------------------------

    def on_text(self, text: bytes) -> None:
        """See `Listener`."""
        self._keep(text_of(text), len(text))

    def on_ping(self, ping_id: bytes, now: float) -> bytes:
        """See `Listener`: it is a text as any other."""
        del ping_id, now
        return b""

    def on_binary(self, payload: bytes) -> None:
        """See `Listener`."""
        self._keep(payload, len(payload))

    def on_control(self, payload: bytes, *, is_ping: bool) -> None:
        """See `Listener`."""
        if not self._controls.has_one():
            raise BrokenError(BROKEN)
        # Who takes nothing has no answers either.
        if is_ping and self._writable.is_set() and not self.is_over:
            self.transport.write(pong_frame(payload))

    def on_close(self, code: int) -> None:
        """See `Listener`."""
        self._end(code or 1005)
        if not self.is_over:
            self._has_closed = True
            self.transport.write(close_frame(code or 1000))
        self.end()

    def on_broken(self, code: int) -> None:
        """See `Listener`."""
        if not self.is_over:
            self._say_close(code)
            if self.transport.can_write_eof():
                self.transport.write_eof()  # see `Outbox.end_writing`

    def on_lost(self) -> None:
        """See `Listener`."""
        self._end(LOST)
        self._has_closed = True
        self._writable.set()
        self._gone.set()

    def _keep(self, message: str | bytes, size: int) -> None:
        if self._has_closed:
            return  # nobody awaits it
        self._heard.append(message)
        self._heard_bytes += size
        if not self._is_full and (
            len(self._heard) >= FRAMES_A_TURN or self._heard_bytes >= MAX_WAITING_BYTES
        ):
            self._is_full = True
            self.hold()
        self._news.set()

    def _say_close(self, code: int, reason: str = "") -> None:
        self._end(code)
        if not self.is_over:
            self._has_closed = True
            self.transport.write(close_frame(code, reason))
            self.wait_for_end()

    def _end(self, code: int) -> None:
        """What was heard before may still be awaited."""
        if self._code is None:
            self._code = code
        self._news.set()
