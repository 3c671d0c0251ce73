"""What RFC 6455 asks of a client's frames, and aiohttp does not look at: that they are masked, and come to an end.

It stands before aiohttp's parser and reads the heads of frames alone. One that breaks a rule reaches the parser as a
frame that it refuses by itself, with 1002.

And it has a short way for what almost every frame is: a text of one piece that came whole, while all that came before
it has been taken. That is offered to `on_text`; the parser sees it only where it is not taken. By the parser a
message goes through a queue and a turn of the loop, which costs as much as to answer it.
"""

from collections.abc import Callable
from typing import Any, Final

MAX_PIECES: Final = 1024
"""Frames of one message: more are sent to keep us busy. A message has at most 1 MiB."""
MESSAGE_S: Final = 30.0
"""From a message's first frame to its last, where it comes in several."""
MASK_BYTES: Final = 4
SHORT: Final = 126
"""A frame's payload is shorter where its head has two bytes."""
WHOLE_TEXT: Final = 0x81
"""How a frame begins that is a text and its end."""
REFUSED: Final = b"\xf0\x80"
"""A head that breaks the protocol: all reserved bits are set."""


class Guard:
    """A parser of a WebSocket, as aiohttp's connection knows it: `parser`, guarded."""

    def __init__(self, parser: Any, now: Callable[[], float]) -> None:
        self.on_text: Callable[[bytes], bool] | None = None
        """Whether it has taken a text, which may not be UTF-8; where it has not, that goes the ordinary way."""
        self._parser = parser
        self._now = now
        self._unread = 0
        """Messages that the parser was given, and whoever reads them has not had."""
        self._head = b""
        """The beginning of a frame whose head has not come whole."""
        self._left = 0
        """Bytes of the frame that is coming."""
        self._pieces = 0
        self._began = 0.0

    def was_read(self) -> None:
        """One more message that came by the parser was read."""
        self._unread -= 1

    def feed_eof(self) -> None:
        """See aiohttp's parser."""
        self._parser.feed_eof()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """See aiohttp's parser."""
        if self.on_text is not None and not (self._unread or self._left or self._pieces or self._head):
            data = data[self._taken(data, self.on_text) :]
            if not data:
                return False, b""
        if self._left >= len(data):
            self._left -= len(data)
            return self._fed(data)
        data, self._head = self._head + data, b""
        at = self._left
        while at < len(data):
            length = self._length(data, at)
            if length == 0:
                self._head, data = data[at:], data[:at]
                break
            if length < 0:
                return self._fed(data[:at] + REFUSED)
            at += length
        self._left = at - len(data)
        return self._fed(data)

    def _taken(self, data: bytes, on_text: Callable[[bytes], bool]) -> int:
        """How many bytes of `data` were whole texts that are taken."""
        at, size = 0, len(data)
        while at + 2 <= size and data[at] == WHOLE_TEXT:
            length = data[at + 1] - 0x80
            begin = at + 2
            if length == SHORT and begin + 2 <= size:
                length = int.from_bytes(data[begin : begin + 2])
                begin += 2
                if length < SHORT:
                    break
            elif not 0 <= length < SHORT:
                break
            end = begin + MASK_BYTES + length
            if end > size:
                break
            if not on_text(_unmasked(data[begin : begin + MASK_BYTES], data[begin + MASK_BYTES : end])):
                break
            at = end
        return at

    def _fed(self, data: bytes) -> tuple[bool, bytes]:
        answer: tuple[bool, bytes] = self._parser.feed_data(data)
        return answer

    def _length(self, data: bytes, at: int) -> int:
        """Of the frame that begins there, its head included; 0 while that can't be told, -1 where it is refused."""
        if len(data) - at < 2:
            return 0
        first, second = data[at], data[at + 1]
        more = {126: 2, 127: 8}.get(second & 0x7F, 0)
        if len(data) - at < 2 + more:
            return 0
        payload = int.from_bytes(data[at + 2 : at + 2 + more]) if more else second & 0x7F
        # A length is written in as few bytes as it needs (section 5.2).
        is_long = more and payload < {2: 126, 8: 1 << 16}[more]
        if not second & 0x80 or is_long or not self._goes_on(first):
            return -1
        return 2 + more + MASK_BYTES + payload

    def _goes_on(self, first: int) -> bool:
        """Whether the message that the frame belongs to, or comes between, is not too long on its way."""
        is_last, opcode = first & 0x80, first & 0x0F
        self._unread += is_last >> 7
        if opcode < 8:
            if opcode:
                self._pieces, self._began = 0, self._now()
            self._pieces = 0 if is_last else self._pieces + 1
        return not self._pieces or (self._pieces < MAX_PIECES and self._now() - self._began < MESSAGE_S)


def _unmasked(mask: bytes, payload: bytes) -> bytes:
    """What a frame says (RFC 6455 section 5.3)."""
    size = len(payload)
    key = int.from_bytes((mask * (size // MASK_BYTES + 1))[:size])
    return (int.from_bytes(payload) ^ key).to_bytes(size)
