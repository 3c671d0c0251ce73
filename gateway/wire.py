"""Bytes on a client's socket. Server frames are unmasked (RFC 6455 section 5.1), so one frame serves every client."""

from typing import Final

PING: Final = b"\x89\x00"
"""An empty ping frame (RFC 6455 section 5.5.2)."""


_MAX_REASON_BYTES: Final = 123
SHORT: Final = 125
"""What a frame holds at most whose length stands in its second byte."""
SHORT_HEADERS: Final = tuple(bytes((0x81, length)) for length in range(SHORT + 1))
"""What stands before a short text."""


def text_frame(payload: bytes) -> bytes:
    """`payload`, which is UTF-8, as one final text frame (RFC 6455 section 5.2)."""
    length = len(payload)
    return (SHORT_HEADERS[length] if length <= SHORT else text_header(payload)) + payload


def text_header(payload: bytes) -> bytes:
    """What stands before `payload` in its text frame."""
    length = len(payload)
    if length <= SHORT:
        return SHORT_HEADERS[length]
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame that says `code`, and as much of `reason` as fits (RFC 6455 section 5.5.1)."""
    said = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore").encode()
    return bytes((0x88, 2 + len(said))) + code.to_bytes(2, "big") + said


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping that held `payload` (RFC 6455 section 5.5.3)."""
    return bytes((0x8A, len(payload))) + payload
