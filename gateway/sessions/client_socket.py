"""A client's WebSocket from its upgrade on: the protocol of its transport, with no task and no queue of its own.

Whoever had the connection until its handshake was answered keeps nothing of it: an idle client is its transport, this,
and what it tells.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from gateway.sessions.pace import COST_OF_A_S, Pace
from gateway.sessions.reading import (
    BINARY,
    CLOSE,
    PIECE,
    PING,
    TEXT,
    BrokenError,
    Reader,
    code_of,
    framed_again,
)

CLOSE_TIMEOUT_S: Final = 2.0
"""How long a peer may take to take what is left and to answer our close."""
FRAMES_A_TURN: Final = 32
"""Of one client that are read in one go: then it is the others' turn."""
DEAF_PAUSE_S: Final = 10e-3
"""Between looks at what a peer goes on sending that nothing is read of any more: to copy it as fast as it comes would
take a core."""
FRAME_BYTES: Final = 32 << 10
"""A message counts as one frame more for each so many bytes: it is unmasked, parsed and checked (1 MiB of short
values in 5 ms)."""


class Listener(Protocol):
    """Whoever is told what a client says, at once and in order."""

    def on_text(self, text: bytes) -> None:
        """A message; `ClientSocket.hold` keeps the next ones back. Raises `BrokenError` where it is not UTF-8."""

    def on_ping(self, ping_id: bytes, now: float) -> bytes:
        """See `Hears.ping_received`."""

    def on_control(self, payload: bytes, *, is_ping: bool) -> None:
        """A frame that is a ping or a pong."""

    def on_binary(self, payload: bytes) -> None:
        """A message that is no text."""

    def on_close(self, code: int) -> None:
        """It closes with `code`, 0 where it gave none; nothing more comes from it."""

    def on_broken(self, code: int) -> None:
        """It has broken a rule, for which it is closed with `code`; nothing more is read of it."""

    def on_lost(self) -> None:
        """There is no connection any more. Called once, and last."""


class ClientSocket(asyncio.Protocol):
    """Reads for `listener`; whoever writes does so on `transport`.

    Each frame takes from `pace`, where there is one, and the client is not read while that is owed.
    """

    __slots__ = (
        "_ending",
        "_holds",
        "_is_deaf",
        "_listener",
        "_now",
        "_pace",
        "_reader",
        "heard_at",
        "on_gone",
        "transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        listener: Listener,
        *,
        max_bytes: int,
        pace: Pace | None = None,
    ) -> None:
        self.transport = transport
        self._listener = listener
        self._now = asyncio.get_running_loop().time
        self._reader = Reader(max_bytes, self._now)
        self.heard_at = self._now()
        """When anything came last, by the loop's clock."""
        self._pace = pace
        self._holds = 0
        self._is_deaf = False
        self._ending: asyncio.TimerHandle | None = None
        self.on_gone: Callable[[], None] | None = None
        """See `HandsOver.hand_over`."""

    @property
    def unfinished_bytes(self) -> int:
        """What is kept of messages that have not ended, or not been told."""
        return self._reader.unfinished_bytes

    # --- what the transport says ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._is_deaf:
            self._rest(DEAF_PAUSE_S)
            return
        self.heard_at = self._now()
        self._reader.feed(data)
        self._read()

    def text_received(self, text: bytes, mask: int, now: float) -> None:
        """See `Hears`."""
        if self._holds or self._is_deaf or self._reader.is_amid:
            # Within a frame it is a part of that, masked as it came.
            self.data_received(framed_again(text, mask))
            return
        self.heard_at = now
        try:
            self._listener.on_text(text)
        except BrokenError as broken:
            self._break(broken.code)
        if self._pace is not None and not self._pace.took_one(now):
            self._rest(self._pace.pay(1))

    def ping_received(self, ping_id: bytes, now: float) -> bytes:
        """See `Hears`."""
        if self._holds or self._is_deaf or self._reader.is_amid:
            return b""
        if answer := self._listener.on_ping(ping_id, now):
            self.heard_at = now
            if self._pace is not None and not self._pace.took_one(now):
                self._rest(self._pace.pay(1))
        return answer

    def connection_lost(self, _exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._is_deaf = True
        if self._ending is not None:
            self._ending.cancel()
        if self.on_gone is not None:
            self.on_gone()
        self._listener.on_lost()
        del self._listener  # it has this socket: a circle otherwise

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: who does not take what he asked for is heard no more until he does."""
        self.hold()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.release()

    # --- reading ----------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Tell nothing more until as many `release`; the client is not read meanwhile."""
        self._holds += 1
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def release(self) -> None:
        """Go on, if nobody else holds it."""
        if not self._holds:
            return
        self._holds -= 1
        if not self._holds:
            self._read()
            if not self._holds and not self.transport.is_closing():
                self.transport.resume_reading()

    def _rest(self, pause_s: float) -> None:
        self.hold()
        asyncio.get_running_loop().call_later(pause_s, self.release)

    def _read(self) -> None:
        left = FRAMES_A_TURN
        try:
            while not (self._holds or self._is_deaf) and (message := self._reader.next()) is not None:
                opcode, payload = message
                began = time.monotonic()
                if opcode == TEXT:
                    self._listener.on_text(payload)
                else:
                    self._tell_else(opcode, payload)
                left -= 1
                owed_s = 0.0 if self._pace is None else self._pace.pay(_price(payload, began))
                # A message in many pieces is to come to its end in time: they are paid for, and waited for later.
                if not left or (owed_s and message is not PIECE):
                    self._rest(owed_s)
        except BrokenError as broken:
            self._break(broken.code)

    def _break(self, code: int) -> None:
        self._is_deaf = True
        self._listener.on_broken(code)

    def _tell_else(self, opcode: int, payload: bytes) -> None:
        if opcode == BINARY:
            self._listener.on_binary(payload)
        elif opcode == CLOSE:
            code = code_of(payload)
            self._is_deaf = True
            self._listener.on_close(code)
        elif opcode:
            self._listener.on_control(payload, is_ping=opcode == PING)

    # --- its end ----------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The close was said by both sides: what is written is sent, within `CLOSE_TIMEOUT_S`."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._cut_off_later()

    def wait_for_end(self) -> None:
        """We have said our close: the peer may answer it, or end, within `CLOSE_TIMEOUT_S`."""
        self._cut_off_later()
        self._holds = min(self._holds, 1)
        self.release()

    def _cut_off_later(self) -> None:
        if self._ending is None:
            loop = asyncio.get_running_loop()
            self._ending = loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)


def _price(payload: bytes, began: float) -> int:
    """What a message costs that was begun then: a large one also by its time, which is 0.3 to 140 ms for a mebibyte."""
    if (frames := len(payload) // FRAME_BYTES) == 0:
        return 1
    return 1 + frames + int((time.monotonic() - began) * COST_OF_A_S)
