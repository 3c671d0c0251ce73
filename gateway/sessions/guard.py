"""What RFC 6455 asks of a sandbox's frames, and aiohttp does not look at: that they are masked, and come to an end.

It stands before aiohttp's parser and reads the heads of frames alone. One that breaks a rule reaches the parser as a
frame that it refuses by itself, with 1002. So does a ping or a pong beyond their rate, for each costs an answer, and
what is one tiny frame behind the other.
"""

from collections.abc import Callable
from typing import Any, Final

from gateway.sessions.reading import (
    CONTROLS_BURST,
    CONTROLS_PER_S,
    MASK_BYTES,
    MAX_PIECES,
    MESSAGE_S,
)
from gateway.token_bucket import TokenBucket

FRAMES_AT_ONCE: Final = 4096
"""In what is read in one go, 256 KiB at most: nobody says anything in 64 bytes each."""
REFUSED: Final = b"\xf0\x80"
"""A head that breaks the protocol: all reserved bits are set."""


class Guard:
    """A parser of a WebSocket, as aiohttp's connection knows it: `parser`, guarded."""

    def __init__(self, parser: Any, now: Callable[[], float]) -> None:
        self._parser = parser
        self._now = now
        self._head = b""
        """The beginning of a frame whose head has not come whole."""
        self._left = 0
        """Bytes of the frame that is coming."""
        self._pieces = 0
        self._began = 0.0
        self._controls = TokenBucket(CONTROLS_PER_S, CONTROLS_BURST, now)

    def feed_eof(self) -> None:
        """See aiohttp's parser."""
        self._parser.feed_eof()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """See aiohttp's parser."""
        if self._left >= len(data):
            self._left -= len(data)
            return self._fed(data)
        data, self._head = self._head + data, b""
        at, count = self._left, 0
        while at < len(data):
            length = self._length(data, at)
            if length == 0:
                self._head, data = data[at:], data[:at]
                break
            count += 1
            if length < 0 or count > FRAMES_AT_ONCE:
                return self._fed(data[:at] + REFUSED)
            at += length
        self._left = at - len(data)
        return self._fed(data)

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
        """Whether the message that the frame belongs to, or comes between, is not too long on its way, nor what comes
        between too often."""
        is_last, opcode = first & 0x80, first & 0x0F
        if opcode < 8:
            if opcode:
                self._pieces, self._began = 0, self._now()
            self._pieces = 0 if is_last else self._pieces + 1
        elif not self._controls.has_one():
            return False
        return not self._pieces or (self._pieces < MAX_PIECES and self._now() - self._began < MESSAGE_S)
