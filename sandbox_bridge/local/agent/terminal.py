"""The terminal of one command, made inside the jail."""

# The agent's: standard library only, and little of it.
# ruff: noqa: SIM105

from __future__ import annotations

import fcntl
import posix as os
import select
import sys

_TIOCSWINSZ = 0x5414
"""As on every machine that we have a filter of system calls for; `termios` would cost each jail 0.15 ms."""
_READ_BYTES = 64 << 10
_END_OF_INPUT = b"\x04"
_MAX_LAST_WORDS = 1 << 20
"""Of a terminal after its command's end: more than it holds; what still writes there then is the background."""


class Terminal:
    """A command's terminal, and what carries between it and the host's pipes. Raises OSError."""

    def __init__(self, size: bytes, stdin: int, stdout: int) -> None:
        self._stdin = stdin
        self._master, self.slave = os.openpty()
        # Opened anew, so that no write of ours waits, and those of the commands still do.
        self._stdout = os.open(f"/proc/self/fd/{stdout}", os.O_WRONLY | os.O_NONBLOCK)
        for fd in (self._master, *([stdin] if stdin >= 0 else [])):
            os.set_blocking(fd, False)
        self._to_command, self._to_host = b"", b""
        self._is_line_start = True
        self._left = _MAX_LAST_WORDS
        self.resize(size)

    def resize(self, size: bytes) -> None:
        """Take on a new size: columns and rows."""
        cols, rows = map(int, size.split())
        packed = rows.to_bytes(2, sys.byteorder) + cols.to_bytes(2, sys.byteorder) + bytes(4)
        fcntl.ioctl(self._master, _TIOCSWINSZ, packed)

    @property
    def is_waiting(self) -> bool:
        """Whether the host has to take something before there is more to do."""
        return bool(self._to_host)

    def foreground(self) -> int:
        """The process group that a Ctrl-C would reach, or 0."""
        try:
            return os.tcgetpgrp(self._master)
        except OSError:
            return 0

    def watch(self, poll: select.poll) -> None:
        """Have `poll` say when there is something to carry."""
        events = (select.POLLOUT if self._to_command else 0) | (0 if self._to_host else select.POLLIN)
        if events:
            poll.register(self._master, events)
        if self._to_host:
            poll.register(self._stdout, select.POLLOUT)
        if self._stdin >= 0 and not self._to_command:
            poll.register(self._stdin, select.POLLIN)

    def carry(self, ready: dict[int, int]) -> None:
        """Carry what can be carried now, one piece each way."""
        if self._stdin in ready and not self._to_command:
            self._take_input()
        if self._to_command:
            self._to_command = write_some(self._master, self._to_command)
        if not self._to_host and ready.get(self._master, 0) & ~select.POLLOUT:
            self._take_output()
        if self._to_host:
            self._to_host = write_some(self._stdout, self._to_host)

    def _take_input(self) -> None:
        data = os.read(self._stdin, 4096)
        if not data:
            os.close(self._stdin)
            self._stdin = -1
            # In the middle of a line the first only hands over the line so far.
            data = _END_OF_INPUT if self._is_line_start else 2 * _END_OF_INPUT
        self._is_line_start = data.endswith(b"\n")
        self._to_command = data

    def _take_output(self) -> bool:
        try:
            # Never at its end: we have the other side open, too.
            self._to_host = os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            pass
        return bool(self._to_host)

    def is_drained(self) -> bool:
        """Whether what the command has printed is with the host; what it has not read is nobody's now."""
        while not self._to_host:
            if self._left <= 0 or not self._take_output():
                return True
            self._left -= len(self._to_host)
            self._to_host = write_some(self._stdout, self._to_host)
        return False

    def close(self) -> None:
        """Hang up on whoever still has it."""
        for fd in (self._master, self.slave, self._stdout, self._stdin):
            if fd >= 0:
                os.close(fd)


def write_some(fd: int, data: bytes) -> bytes:
    """Write what there is room for; returns the rest, nothing where nobody reads any more."""
    try:
        return data[os.write(fd, data) :]
    except BlockingIOError:
        return data
    except OSError:
        return b""
