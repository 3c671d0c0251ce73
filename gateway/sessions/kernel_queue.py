"""What the kernel holds of what a client has not taken: bounded, and asked about before more is read for it.

Without a bound that is 4 MiB for each client that has stopped reading, in memory that all sockets of the machine
share. What is on its way to a client that reads does not count, so no connection is slower for it.
"""

import fcntl
import socket
import struct
import sys
from typing import Final

UNSENT_BYTES: Final = 128 << 10
"""What the kernel takes for one client beyond what the client's window lets go (tcp(7), TCP_NOTSENT_LOWAT).

With half as much a client that reads as fast as we write waits for us at times: packets on loopback are 64 KiB.
"""
PAGE_BYTES: Final = UNSENT_BYTES // 2
"""What surely fits in at once when the kernel has no more than as much unsent."""
_SIOCOUTQNSD: Final = 0x894B  # linux/sockios.h: bytes in the send queue that were never sent
_SIOCOUTQ: Final = 0x5411  # the same, and those that were sent and not acknowledged (tcp(7))


class KernelQueue:
    """The kernel's part of one connection's way out; of what is no TCP socket of Linux nothing is known."""

    __slots__ = ("_socket",)

    def __init__(self, sock: socket.socket | None) -> None:
        self._socket = sock if sys.platform == "linux" else None
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    def takes_a_page(self) -> bool:
        """Whether `PAGE_BYTES` would go in at once, so that nothing stays behind in our memory."""
        return self._asked(_SIOCOUTQNSD) <= UNSENT_BYTES - PAGE_BYTES

    def untaken_bytes(self) -> int:
        """What the client's side has not acknowledged."""
        return self._asked(_SIOCOUTQ)

    def _asked(self, question: int) -> int:
        if self._socket is None or self._socket.fileno() < 0:
            return 0
        try:
            answer = fcntl.ioctl(self._socket.fileno(), question, bytes(4))
        except OSError:
            return 0  # it has gone
        return int(struct.unpack("i", answer)[0])
