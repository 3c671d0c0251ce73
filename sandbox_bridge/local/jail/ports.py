"""Which ports of a jail somebody listens on, read from the kernel and not from the jail."""

import os
import signal
from pathlib import Path

_LISTENING = "0A"
_MAX_BYTES = 16 << 10
"""Of a table: those that listen come first, and nobody needs more than a hundred."""


class Ports:
    """The TCP ports in the network of the process `pid`, held by `pidfd`."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self._folder = Path(f"/proc/{pid}/net")
        self._pidfd = pidfd

    def sockets_in_use(self) -> int:
        """How many there are, of any kind: costs nothing to ask, while the tables cost milliseconds.

        Raises OSError when the jail is gone.
        """
        counts = self._read("sockstat") + self._read("sockstat6")
        return sum(count_in_use(line) for line in counts.splitlines())

    def listening(self) -> set[int]:
        """Those that somebody listens on. Raises OSError when the jail is gone."""
        return listening_ports(self._read("tcp")) | listening_ports(self._read("tcp6"))

    def _read(self, name: str) -> str:
        try:
            fd = os.open(self._folder / name, os.O_RDONLY)
        except FileNotFoundError:
            return ""  # a kernel without IPv6
        try:
            text = os.read(fd, _MAX_BYTES).decode("ascii", "replace")
        finally:
            os.close(fd)
        # While it lives, its number is no other's; so what was read just now was its own.
        signal.pidfd_send_signal(self._pidfd, 0)
        return text


def count_in_use(line: str) -> int:
    """The TCP sockets that a line of `sockstat` counts."""
    words = line.split()
    return int(words[2]) if words[:1] in (["TCP:"], ["TCP6:"]) and words[1] == "inuse" else 0


def listening_ports(table: str) -> set[int]:
    """The ports in state listen in the text of `/proc/net/tcp`; a line cut short counts for nothing."""
    ports = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTENING:
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
