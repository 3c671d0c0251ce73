"""A session's output on its way out: whole characters, gathered, limited; head and tail kept. Pure.

All byte counts are of UTF-8 text as it is delivered; a byte that is no UTF-8 counts as its U+FFFD.
"""

import codecs
from collections import deque
from dataclasses import dataclass

from sandbox_bridge.protocol import Stream

MAX_TEXT_BYTES = 64 << 10
"""Text of one output frame, and what is shown of the end of output beyond the limit."""
GATHER_S = 0.02
"""How long output is gathered while it flows: 50 frames a second look live and cost little."""
_LEFT_OUT = "\n[… {} bytes left out …]\n"


@dataclass(frozen=True, slots=True)
class Text:
    """Output to be sent: whole characters as UTF-8."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Output that will not be sent; `dropped_bytes` None says that it goes on."""

    stream: Stream
    dropped_bytes: int | None
    reason: str


def cut(data: bytes, most: int) -> int:
    """How many bytes of the UTF-8 `data`, at most `most`, make whole characters."""
    if most >= len(data):
        return len(data)
    while most > 0 and data[most] & 0xC0 == 0x80:
        most -= 1
    return most


class Kept:
    """Head and tail of one stream of one command, for its record in the result."""

    def __init__(self, most: int = MAX_TEXT_BYTES) -> None:
        # Room for the line between head and tail.
        self._half = (most - 64) // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def feed(self, data: bytes) -> None:
        """Take more output, as UTF-8."""
        self._total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            # A character cut in two here is whole again where nothing lies between head and tail.
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    def text(self) -> tuple[str, bool]:
        """What was kept, and whether something between its head and tail was left out."""
        tail = self._tail[-self._half :]
        left_out = self._total - len(self._head) - len(tail)
        if left_out <= 0:
            return (self._head + tail).decode(errors="ignore"), False
        head_text, tail_text = self._head.decode(errors="ignore"), tail.decode(errors="ignore")
        return head_text + _LEFT_OUT.format(left_out) + tail_text, True


class _Tail:
    """The last 64 KiB of what is dropped, in order, and how much it was in all."""

    def __init__(self) -> None:
        self.total = 0
        self._pieces: deque[Text] = deque()
        self._size = 0

    def feed(self, stream: Stream, data: bytes) -> None:
        self.total += len(data)
        self._size += len(data)
        self._pieces.append(Text(stream, data))
        while self._size - len(self._pieces[0].data) >= MAX_TEXT_BYTES:
            self._size -= len(self._pieces.popleft().data)

    def take(self) -> list[Text]:
        excess = self._size - MAX_TEXT_BYTES
        if excess > 0:
            first = self._pieces.popleft()
            while excess < len(first.data) and first.data[excess] & 0xC0 == 0x80:
                excess += 1
            self._pieces.appendleft(Text(first.stream, first.data[excess:]))
        return [piece for piece in self._pieces if piece.data]


class OutputFlow:
    """Takes a session's raw output and gives what to send next, up to `limit_bytes` in all.

    Past the limit comes one Gap at once; at the command's end a second with the count, then the last 64 KiB.
    Without `deliver` nothing is sent, and head and tail are kept all the same.
    """

    def __init__(self, limit_bytes: int, *, deliver: bool = True) -> None:
        self._left = limit_bytes
        self._deliver = deliver
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in _STREAMS}
        self._kept = {stream: Kept() for stream in _STREAMS}
        self._waiting: deque[Text | Gap] = deque()
        self._beyond: _Tail | None = None
        self._gap_stream: Stream = "stdout"
        self.waiting_bytes = 0

    def feed(self, stream: Stream, raw: bytes) -> None:
        """Take `raw` as the command wrote it."""
        self._take_in(stream, self._decoders[stream].decode(raw).encode())

    def _take_in(self, stream: Stream, data: bytes) -> None:
        if not data:
            return
        self._kept[stream].feed(data)
        if not self._deliver:
            return
        fits = cut(data, self._left) if self._beyond is None else 0
        if fits:
            self._left -= fits
            self._append(stream, data[:fits])
        if fits < len(data):
            self._drop(stream, data[fits:])

    def _append(self, stream: Stream, data: bytes) -> None:
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, Text) and last.stream == stream:
            self._waiting[-1] = Text(stream, last.data + data)
        else:
            self._waiting.append(Text(stream, data))
        self.waiting_bytes += len(data)

    def _drop(self, stream: Stream, data: bytes) -> None:
        if self._beyond is None:
            self._beyond = _Tail()
            self._gap_stream = stream
            self._waiting.append(Gap(stream, None, "limit"))
        self._beyond.feed(stream, data)

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._waiting)

    def take(self, most: int) -> Text | Gap | None:
        """The next thing to send; None where there is none, or it is Text and `most` has no room for any."""
        first = self._waiting[0] if self._waiting else None
        if isinstance(first, Gap):
            self._waiting.popleft()
            return first
        if first is None or not most:
            return None
        size = cut(first.data, min(most, MAX_TEXT_BYTES))
        if size == len(first.data):
            self._waiting.popleft()
        else:
            self._waiting[0] = Text(first.stream, first.data[size:])
        self.waiting_bytes -= size
        return Text(first.stream, first.data[:size])

    def end_command(self) -> dict[Stream, Kept]:
        """Close the books of a command: what is left goes into the queue; returns what was kept of it."""
        for stream, decoder in self._decoders.items():
            self._take_in(stream, decoder.decode(b"", final=True).encode())
            decoder.reset()
        if self._beyond is not None:
            tail = self._beyond.take()
            shown = sum(len(piece.data) for piece in tail)
            self._waiting.append(Gap(self._gap_stream, self._beyond.total - shown, "limit"))
            for piece in tail:
                self._append(piece.stream, piece.data)
            self._beyond = None
        kept, self._kept = self._kept, {stream: Kept() for stream in _STREAMS}
        return kept

    def give_up(self, reason: str) -> list[Gap]:
        """Drop what is still waiting, and say so: one Gap for each stream that loses something."""
        lost: dict[Stream, int] = {}
        for item in self._waiting:
            size = len(item.data) if isinstance(item, Text) else item.dropped_bytes or 0
            lost[item.stream] = lost.get(item.stream, 0) + size
        self._waiting.clear()
        self.waiting_bytes = 0
        return [Gap(stream, size, reason) for stream, size in lost.items() if size]


_STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")
