"""Bytes to sockets without waiting, past the transports that own them: whoever does that has seen that a transport
holds nothing unsent, and is not closing, in the same turn of the loop, for then its descriptor is still its own.

To many it is one call of `sockets.c`, where a build has compiled that: between a thousand system calls no Python runs,
and other threads have the interpreter meanwhile.
"""

import ctypes
import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

SendEach = Callable[[Sequence[int], bytes], list[tuple[int, int]]]
"""Data to each of the sockets: those that did not take all of it, by their places, and what each took."""


FEW: Final = 6
"""Sockets that are not worth one call of C: it has a price of its own."""

SendPieces = Callable[[Sequence[int], Sequence[bytes]], list[tuple[int, int]]]
"""To each of the sockets, none of them twice, data of its own; those that did not take all of it, as of `SendEach`."""


def send(fd: int, data: bytes) -> int:
    """How many bytes of `data` the socket took; 0 also where it is broken, which its transport is to find out."""
    try:
        return os.write(fd, data)
    except OSError:
        return 0


def send_one_by_one(fds: Sequence[int], data: bytes) -> list[tuple[int, int]]:
    """See `SendEach`."""
    size = len(data)
    return [(place, taken) for place, fd in enumerate(fds) if (taken := send(fd, data)) != size]


def send_pieces_one_by_one(fds: Sequence[int], pieces: Sequence[bytes]) -> list[tuple[int, int]]:
    """See `SendPieces`."""
    took = enumerate(map(send, fds, pieces))
    return [(place, taken) for place, taken in took if taken != len(pieces[place])]


def compiled(library: Path) -> tuple[SendEach, SendPieces]:
    """Both, by C. Raises `OSError` where there is no such library."""
    calls = ctypes.CDLL(str(library))
    each, own = calls.send_each, calls.send_pieces
    each.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
    own.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)

    def each_by_c(fds: Sequence[int], data: bytes) -> list[tuple[int, int]]:
        sockets, taken = array("i", fds), array("i", fds)
        if not each(sockets.buffer_info()[0], taken.buffer_info()[0], len(fds), data, len(data)):
            return []
        return [(place, took) for place, took in enumerate(taken) if took != len(data)]

    def pieces_by_c(fds: Sequence[int], pieces: Sequence[bytes]) -> list[tuple[int, int]]:
        if len(fds) < FEW:
            return send_pieces_one_by_one(fds, pieces)
        sockets, taken = array("i", fds), array("i", map(len, pieces))
        if not own(sockets.buffer_info()[0], taken.buffer_info()[0], len(fds), b"".join(pieces)):
            return []
        return [(place, took) for place, took in enumerate(taken) if took != len(pieces[place])]

    return each_by_c, pieces_by_c


def _best() -> tuple[SendEach, SendPieces]:
    try:
        return compiled(LIBRARY)
    except (OSError, AttributeError):  # there is none, or one of another version
        return send_one_by_one, send_pieces_one_by_one


LIBRARY: Final = Path(__file__).with_name("_sockets.so")
send_each, send_pieces = _best()
