"""What is on its way to one client: bounded, counted in bytes, written once per turn of the loop.

Frames are written as ready bytes, on the transport or straight to its socket. Nothing can come between: nobody else
writes to a client, and we are on one thread. `docs/decisions/0003-outbox-writes-the-transport.md` says more.
"""

import asyncio
import socket
from array import array
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, Protocol, Self

from gateway.events import TaskEvents
from gateway.fanout.outgoing import Outgoing
from gateway.fanout.sending import send
from gateway.fanout.sink import Tally
from gateway.sessions.kernel_queue import KernelQueue
from gateway.wire import PING, close_frame, pong_frame, text_frame

MAX_EVENT_BYTES: Final = 256 << 10
"""Events queued for one client, by the contract; a single larger frame may pass alone."""
SLOW_BYTES: Final = 64 << 10
"""A client whose transport holds more does not keep up: it gets no more live events, and is fed from the log."""
MAX_TOGETHER: Final = 16 << 10
"""Answers that are gathered with those of others: what is larger is not copied once more."""
_LOOKS_S: Final = (0.0, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25)
"""Pauses between looks at whether a full client has read on; the last repeats."""
_FD, _IS_CLOSED, _IS_SHARED = attrgetter("fd"), attrgetter("_closed"), attrgetter("is_shared")
_QUEUED, _TRANSPORT, _IS_FREE = attrgetter("_queued_bytes"), attrgetter("_transport"), attrgetter("is_free")


class Way(Protocol):
    """A `ClientTransport`, as far as it is written to."""

    @property
    def is_free(self) -> bool:
        """Whether its socket may be written to past it: it holds nothing unsent, and is not closing."""

    def write(self, data: bytes) -> None:
        """Send it, after what was written before."""

    def write_eof(self) -> None:
        """Nothing more is written."""

    def get_write_buffer_size(self) -> int:
        """Bytes that it holds."""

    def is_closing(self) -> bool:
        """Whether it is over, or will be."""

    def get_extra_info(self, name: str) -> Any:
        """Its `socket`, None where it has none."""


class Outbox:
    """The way out of one connection; `outgoing` has it written, in turn with the others.

    What is done for each event and client is written out here: a call more is a tenth of what is not the kernel's.
    """

    __slots__ = (
        "_closed",
        "_kernel",
        "_now",
        "_outgoing",
        "_queue",
        "_queued_bytes",
        "_said_at",
        "_said_bytes",
        "_taken_bytes",
        "_tally",
        "_took_at",
        "_transport",
        "fd",
        "is_shared",
    )

    def __init__(self, transport: Way, outgoing: Outgoing) -> None:
        self._transport = transport
        self._outgoing = outgoing
        self._now = asyncio.get_running_loop().time
        sock: socket.socket | None = transport.get_extra_info("socket")
        self._kernel = KernelQueue(sock)
        self.fd = -1 if sock is None else sock.fileno()
        """Its socket's, -1 where nothing may be written past its transport."""
        self.is_shared = False
        """See `Sink.is_shared`."""
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._closed = False
        # Of all but pings: how much was said, and how much of it the client had taken when it was last looked.
        self._said_bytes = 0
        self._said_at = self._took_at = self._now()  # of the turn in which anything was last written
        self._taken_bytes = 0
        self._tally: Tally | None = None

    @property
    def unsent_bytes(self) -> int:
        """What the client has not taken yet, as far as this side can tell."""
        return self._queued_bytes + self._transport.get_write_buffer_size()

    @property
    def untaken_bytes(self) -> int:
        """What the client has not taken, its kernel's share of that included."""
        return self.unsent_bytes + self._kernel.untaken_bytes()

    def took_at(self, now: float) -> float:
        """The loop's time when the client last took a byte that was no ping's, as far as this side can tell.

        What its kernel has acknowledged counts, for what its program has read is not to be known: that is bounded by
        its buffer, so a program that reads nothing is found out once there was enough to say.
        """
        return self.standing(now)[0]

    def standing(self, now: float) -> tuple[float, int]:
        """`took_at` and `untaken_bytes`, by one look."""
        said_bytes, said_at = self._said()
        untaken = self.untaken_bytes
        taken = said_bytes - untaken
        if taken > self._taken_bytes:
            self._taken_bytes = taken
            self._took_at = said_at if taken == said_bytes else now
        return self._took_at, untaken

    def lag_s(self, now: float) -> float:
        """For how long the client has taken nothing of what waits for it; 0 where nothing does."""
        took_at, untaken = self.standing(now)
        return now - took_at if untaken else 0.0

    # --- what a subscription needs of its sink ---------------------------------------------------------

    def room(self) -> int:
        """See `Sink.room`."""
        held = self._transport.get_write_buffer_size()
        return 0 if held > SLOW_BYTES else MAX_EVENT_BYTES - held - self._queued_bytes

    def take(self, batch: TaskEvents) -> bool:
        """See `Sink.take`."""
        frames, held = batch.wire, self._transport.get_write_buffer_size()
        size = len(frames)
        if held > SLOW_BYTES or size > MAX_EVENT_BYTES - held - self._queued_bytes:
            return False
        if not self._queue:
            self._outgoing.in_turn(self)
        self._queue.append(frames)
        self._queued_bytes += size
        self._said_bytes += size
        return True

    def lend(self, size: int) -> int:
        """See `Sink.lend`."""
        fd = self.ready(size)
        if fd >= 0:
            self._said_bytes += size
            self._said_at = self._outgoing.turn_at
        return fd

    def ready(self, size: int) -> int:
        """See `Sink.ready`."""
        if self.is_shared or self._queued_bytes or size > MAX_EVENT_BYTES:
            return -1
        return self.fd if self._transport.is_free else -1

    @classmethod
    def line_up(cls, sinks: Sequence[Self]) -> "Boxes":
        """See `Sink.line_up`."""
        return Boxes(sinks)

    def count_by(self, tally: Tally | None) -> None:
        """See `Sink.count_by`."""
        self._said_bytes, self._said_at = self._said()
        self._tally = tally
        if tally is not None:
            self._said_bytes -= tally.said_bytes

    def _said(self) -> tuple[int, float]:
        """How much was said in all, and when last."""
        if (tally := self._tally) is None:
            return self._said_bytes, self._said_at
        return self._said_bytes + tally.said_bytes, max(self._said_at, tally.at)

    def send_rest(self, rest: bytes) -> None:
        """See `Sink.send_rest`."""
        self._transport.write(rest)

    def send_events(self, batch: TaskEvents) -> None:
        """See `Sink.send_events`."""
        self.say(batch.wire)

    async def wait_room(self) -> None:
        """See `Sink.wait_room`. The kernel has room for a page of the log then: none waits here for a stuck client."""
        looks = 0
        while not (self._closed or self._transport.is_closing() or self._has_room()):
            # Nobody tells what the kernel has room for.
            await asyncio.sleep(_LOOKS_S[min(looks, len(_LOOKS_S) - 1)])
            looks += 1

    def _has_room(self) -> bool:
        return not self.unsent_bytes and self._kernel.takes_a_page()

    # --- the rest ---------------------------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Send one text frame, after what is queued."""
        self.say(text_frame(payload))

    def is_clear(self) -> bool:
        """Whether what is said now may go to its socket at once: nothing stands before it, and it is not closed."""
        return not (self._queued_bytes or self._closed) and self._transport.is_free

    def lent(self, frame: bytes, now: float) -> bytes:
        """`frame`, which counts as said: whoever has it sends it in this call of the loop. For one that `is_clear`."""
        self._said_bytes += len(frame)
        self._said_at = now
        return frame

    def begin(self, answer: bytes, payload: bytes) -> None:
        """Write the answer of the handshake and one text frame behind it, now and in one write."""
        frame = text_frame(payload)
        self._said_bytes += len(frame)
        self._write(answer + frame)

    def ping(self) -> None:
        """Send a ping frame."""
        self._put(PING)

    def pong(self, payload: bytes) -> None:
        """Answer a ping that held `payload`."""
        self._put(pong_frame(payload))

    def lend_queue(self) -> bytes:
        """See `Flushed.lend_queue`."""
        queue = self._queue
        if not queue:
            return b""
        if self._queued_bytes > MAX_TOGETHER or self.fd < 0 or not self._transport.is_free:
            self.flush()
            return b""
        data = queue[0] if len(queue) == 1 else b"".join(queue)
        queue.clear()
        self._queued_bytes = 0
        self._said_at = self._outgoing.turn_at
        return data

    def flush(self) -> int:
        """Write what is queued, in one write; how many writes that took."""
        queue = self._queue
        if not queue:
            return 0
        data = queue[0] if len(queue) == 1 else b"".join(queue)
        queue.clear()
        self._queued_bytes = 0
        # What is lost here is in the log. Nothing follows a close.
        if not (self._closed or self._transport.is_closing()):
            self._write(data)
            self._said_at = self._outgoing.turn_at
        return 1

    def _write(self, data: bytes) -> None:
        if self.fd >= 0 and self._transport.is_free:
            data = data[send(self.fd, data) :]
        if data:
            self._transport.write(data)

    def close(self) -> None:
        """Write what is queued and take nothing more."""
        self.flush()
        self._closed = True
        self.fd = -1

    def end(self, code: int) -> None:
        """Write what is queued and a close frame, and take nothing more."""
        self._queue.append(close_frame(code))
        self.close()

    def end_writing(self) -> None:
        """End our side of the connection, behind what was written; the client may finish its own.

        A peer in the middle of a frame that is too big goes on sending; to close on it at once would make the
        kernel reset the connection, and the peer could lose what we told it (RFC 6455 section 7.1.1).
        """
        if not self._transport.is_closing():
            self._transport.write_eof()

    def say(self, frame: bytes) -> None:
        """Send what is framed already, after what is queued."""
        self._said_bytes += len(frame)
        self._put(frame)

    def _put(self, frame: bytes) -> None:
        if self._closed:
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        self._outgoing.next(self)


class Boxes:
    """Outboxes that are asked together, in loops of C, without a line of Python for any of them."""

    __slots__ = ("_boxes", "_transports", "fds")

    def __init__(self, boxes: Sequence[Outbox]) -> None:
        self._boxes = boxes
        self._transports = list(map(_TRANSPORT, boxes))
        self.fds = array("i", map(_FD, boxes))
        """See `LineUp.fds`: none is another's before its transport says that it closes."""

    def are_ready(self, size: int) -> bool:
        """See `LineUp.are_ready`."""
        boxes = self._boxes
        if size > MAX_EVENT_BYTES:
            return False
        if any(map(_IS_CLOSED, boxes)) or any(map(_IS_SHARED, boxes)) or any(map(_QUEUED, boxes)):
            return False
        return all(map(_IS_FREE, self._transports))
