"""The frames between the host and the agent in a jail; both import this, and the agent takes it along.

A frame, both ways, is one byte of kind, four bytes of length (big endian) and a payload:

host to agent   FILE path · DATA bytes · SYNC · LIMIT processes · EXEC fields · RESIZE cols and rows ·
                SIGNAL one byte · SWEEP · HELPER source
agent to host   READY · SYNCED · FAILED errno, NUL, words · EXITED status, full · NOT_STARTED words

EXEC's fields are divided by NUL: the folder, what the frame brings, the terminal's size or nothing, the number
of arguments, the arguments, then KEY=VALUE. What it brings are file descriptors, with its first byte: the
command's standard input (BRINGS_INPUT) and its standard output (BRINGS_OUTPUT), in this order; without the first
it has nothing to read. EXITED is the four bytes of the kernel's wait status and one of flags: DISK_FULL,
SIGNALLED (by the host). SWEEP kills everything in the jail but the agent. HELPER's source is a Python program
that runs beside the commands, with the door as its standard input: a second socket, on which the host hands in
what its sites need. It is not a command: nobody hears of its end.
"""

from __future__ import annotations

READY, SYNCED, FAILED, EXITED, NOT_STARTED = b"R", b"K", b"E", b"x", b"n"
STDOUT, STDERR, COLLECTED = b"o", b"e", b"c"
"""No frames of the agent's: so the host marks what it reads from a command's pipes."""
FILE, DATA, SYNC, LIMIT, EXEC = b"F", b"D", b"Z", b"L", b"X"
RESIZE, SIGNAL, SWEEP, HELPER = b"W", b"S", b"A", b"H"
BRINGS_INPUT, BRINGS_OUTPUT = b"i", b"o"
DISK_FULL, SIGNALLED = 1, 2

HEADER_BYTES = 5
WORK, TMP = "/work", "/tmp"  # noqa: S108 - the jail's own, fresh for each session


class MalformedError(ValueError):
    """A peer's bytes that are no frame."""


def pack(kind: bytes, payload: bytes = b"") -> bytes:
    """One frame."""
    return kind + len(payload).to_bytes(4, "big") + payload


class Unpacker:
    """Takes bytes as they come and gives whole frames, with payloads of at most `max_payload` bytes."""

    def __init__(self, max_payload: int) -> None:
        self._max_payload = max_payload
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        self._buffer += data

    def next_nowait(self) -> tuple[bytes, bytes] | None:
        """The next whole frame as (kind, payload), or None while there is none. Raises `MalformedError`."""
        if len(self._buffer) < HEADER_BYTES:
            return None
        length = int.from_bytes(self._buffer[1:HEADER_BYTES], "big")
        if length > self._max_payload:
            raise MalformedError(f"a frame of {length} bytes")
        end = HEADER_BYTES + length
        if len(self._buffer) < end:
            return None
        kind, payload = bytes(self._buffer[:1]), bytes(self._buffer[HEADER_BYTES:end])
        del self._buffer[:end]
        return kind, payload
