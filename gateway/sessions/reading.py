"""A client's frames, put together to messages as RFC 6455 has it. Nothing here waits or writes.

What it asks beyond that: a message comes to its end, in so many frames and so long a time, and is not too large; that
is seen by a frame's head, before any of the rest is kept.
"""

from collections.abc import Callable
from typing import Final

from gateway.wire import SHORT

try:
    from websockets.speedups import apply_mask
except ImportError:  # it was installed without a compiler
    from websockets.utils import apply_mask

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
"""Opcodes (section 5.2)."""
BROKEN, NOT_UTF8, TOO_BIG = 1002, 1007, 1009
"""Codes of closes (section 7.4.1)."""
MAX_PIECES: Final = 1024
"""Frames of one message: more are sent to keep us busy. A message has at most 1 MiB."""
MESSAGE_S: Final = 30.0
"""From a message's first frame to its last, where it comes in several."""
CONTROLS_PER_S: Final = 10.0
CONTROLS_BURST: Final = 200
"""Pings and pongs of one connection: each costs an answer, and none is needed oftener."""
MASK_BYTES: Final = 4
SHORT_HEAD: Final = 2 + MASK_BYTES
"""Of such a frame."""
WHOLE_TEXT: Final = 0x81
"""How a frame begins that is a text and its end."""
PIECE: Final = (0, b"")
"""Stands for a frame that was only a part of a message."""
_KNOWN: Final = frozenset({0, TEXT, BINARY, CLOSE, PING, PONG})


class BrokenError(Exception):
    """What came breaks a rule; nothing more of it can be read. `code` is the close's that says so."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Reader:
    """What one client sends: `feed` it, and take each message by `next`, a frame at a time."""

    __slots__ = (
        "_at",
        "_began",
        "_data",
        "_kind",
        "_max_bytes",
        "_now",
        "_parts",
        "_pieces",
        "_size",
        "is_amid",
    )

    def __init__(self, max_bytes: int, now: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._data: bytes | bytearray = b""
        """What came, from the frame on that is next, which begins `_at`."""
        self._at = 0
        self.is_amid = False
        """Whether anything has come that has not been taken, or has not ended."""
        # Of a message that has begun and not ended: its opcode, its frames, what they hold, and since when.
        self._kind = 0
        self._pieces = 0
        self._parts: list[bytes] | None = None
        self._size = 0
        self._began = 0.0

    @property
    def unfinished_bytes(self) -> int:
        """What has come of messages that have not ended."""
        return len(self._data) - self._at + self._size

    def feed(self, data: bytes) -> None:
        """More has come."""
        self.is_amid = True
        if not self._data:
            self._data, self._at = data, 0
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(self._data)
        del self._data[: self._at]
        self._data += data
        self._at = 0

    def next(self) -> tuple[int, bytes] | None:
        """Opcode and payload of the message that the next frame ends, or `PIECE`; None until more has come.

        Raises `BrokenError`.
        """
        if not self._data or (frame := self._frame()) is None:
            return None
        first, payload = frame
        if first == WHOLE_TEXT and not self._pieces:
            self.is_amid = bool(self._data)
            return TEXT, payload
        opcode = first & 0x0F
        message = (opcode, payload) if opcode >= CLOSE else self._joined(first, payload)
        self.is_amid = bool(self._data or self._pieces)
        if self._pieces >= MAX_PIECES or (self._pieces and self._now() - self._began >= MESSAGE_S):
            raise BrokenError(BROKEN)
        return message

    def _frame(self) -> tuple[int, bytes] | None:
        """First byte and payload of the next frame, where it is all there."""
        data, at = self._data, self._at
        have = len(data)
        if have - at < 2:
            return None
        first, second = data[at], data[at + 1]
        length, begin = second & 0x7F, at + 2
        if length > 125:
            wide = 2 if length == 126 else 8
            begin += wide
            if have < begin:
                return None
            length = int.from_bytes(data[begin - wide : begin])
            if length < (126 if wide == 2 else 1 << 16):  # written in more bytes than it needs
                raise BrokenError(BROKEN)
        if first != WHOLE_TEXT or second < 0x80 or self._pieces or length > self._max_bytes:
            self._check_head(first, second, length)
        end = begin + MASK_BYTES + length
        if have < end:
            return None
        payload = apply_mask(data[begin + MASK_BYTES : end], data[begin : begin + MASK_BYTES])
        self._data, self._at = (b"", 0) if have == end else (data, end)
        return first, payload

    def _check_head(self, first: int, second: int, length: int) -> None:
        opcode = first & 0x0F
        if not second & 0x80 or first & 0x70 or opcode not in _KNOWN:
            raise BrokenError(BROKEN)
        if opcode >= CLOSE:
            if length > 125 or not first & 0x80:
                raise BrokenError(BROKEN)
            return
        if (opcode == 0) != bool(self._pieces):  # goes on with what has not begun, or begins within another
            raise BrokenError(BROKEN)
        if self._size + length > self._max_bytes:
            raise BrokenError(TOO_BIG)

    def _joined(self, first: int, payload: bytes) -> tuple[int, bytes]:
        """The message that this frame ends, or `PIECE`."""
        if self._parts is None:
            self._parts = []
        if first & 0x0F:
            self._kind, self._began = first & 0x0F, self._now()
        self._parts.append(payload)
        self._pieces += 1
        self._size += len(payload)
        if not first & 0x80:
            return PIECE
        whole = self._kind, b"".join(self._parts)
        self._parts, self._pieces, self._size = None, 0, 0
        return whole


def lone_text(data: bytes) -> tuple[bytes, int] | None:
    """The text that `data` is, and its mask, where that is one short frame and nothing else: what clients say, but for
    a few."""
    length = len(data) - SHORT_HEAD
    if not 0 <= length <= SHORT or data[0] != WHOLE_TEXT or data[1] != 0x80 | length:
        return None
    key = data[2:SHORT_HEAD]
    return apply_mask(data[SHORT_HEAD:], key), int.from_bytes(key)


def framed_again(text: bytes, mask: int) -> bytes:
    """The frame that `lone_text` has made `text` of, to the byte; `mask` is its four bytes, the first one highest."""
    key = mask.to_bytes(MASK_BYTES)
    return bytes((WHOLE_TEXT, 0x80 | len(text))) + key + apply_mask(text, key)


def text_of(payload: bytes) -> str:
    """The text of a message. Raises `BrokenError`."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise BrokenError(NOT_UTF8) from None


def code_of(payload: bytes) -> int:
    """What a close frame says, 0 for nothing. Raises `BrokenError`."""
    if not payload:
        return 0
    code = int.from_bytes(payload[:2])
    if len(payload) < 2 or not may_be_sent(code):
        raise BrokenError(BROKEN)
    text_of(payload[2:])
    return code


def may_be_sent(code: int) -> bool:
    """Whether a peer may close with it (section 7.4, and what the IANA has added)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
