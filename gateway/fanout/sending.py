"""Bytes to sockets without waiting, past the transports that own them: whoever does that has seen that a transport
holds nothing unsent, and is not closing, in the same turn of the loop, for then its descriptor is still its own.
"""

import os
from collections.abc import Sequence


def send(fd: int, data: bytes) -> int:
    """How many bytes of `data` the socket took; 0 also where it is broken, which its transport is to find out."""
    try:
        return os.write(fd, data)
    except OSError:
        return 0


def send_each(fds: Sequence[int], data: bytes) -> list[tuple[int, int]]:
    """`data` to each of the sockets: those that did not take all of it, by their places, and what each took."""
    size = len(data)
    return [(place, taken) for place, fd in enumerate(fds) if (taken := send(fd, data)) != size]
