"""The pipes and sockets between the host and a jail. No call on the host's ends ever blocks.

Whatever a guest does with its own ends, it finds ours set to not block, and no way to hand us anything but
bytes: the control socket is shut towards us, and a pipe takes no file descriptors.
"""

import asyncio
import fcntl
import os
import socket
import sys
import termios
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass


class FrameSender:
    """Frames into a jail, whole and in order, each with the descriptors that it brings. Owns its socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.shutdown(socket.SHUT_RD)
        self._sock = sock
        self._waiting: deque[tuple[bytes, Sequence[int]]] = deque()
        self._moved = asyncio.Event()
        self._error: OSError | None = None
        self._loop = asyncio.get_running_loop()

    def send_nowait(self, frame: bytes, fds: Sequence[int] = ()) -> None:
        """Send `frame` as soon as it can be; `fds` are closed when they are on their way, or never will be."""
        self._waiting.append((frame, fds))
        if len(self._waiting) == 1:
            self._flush()

    async def send(self, frame: bytes, fds: Sequence[int] = ()) -> None:
        """Send `frame`, and wait until it is out. Raises OSError where nobody is there any more."""
        self.send_nowait(frame, fds)
        while self._waiting:
            self._moved.clear()
            await self._moved.wait()
        if self._error is not None:
            raise self._error

    def _flush(self) -> None:
        try:
            while self._waiting and self._error is None:
                self._send_first()
        except BlockingIOError:
            self._loop.add_writer(self._sock, self._flush)
            return
        except OSError as error:
            self._error = error
        self._loop.remove_writer(self._sock)
        self._drop()
        self._moved.set()

    def _send_first(self) -> None:
        frame, fds = self._waiting[0]
        sent = socket.send_fds(self._sock, [frame], fds) if fds else self._sock.send(frame)
        self._waiting.popleft()
        close_all(fds)
        if sent < len(frame):
            self._waiting.appendleft((frame[sent:], ()))

    def _drop(self) -> None:
        for _, fds in self._waiting:
            close_all(fds)
        self._waiting.clear()

    def close(self) -> None:
        """Hang up; what waits is dropped."""
        self._loop.remove_writer(self._sock)
        self._error = self._error or OSError("closed")
        self._drop()
        self._moved.set()
        self._sock.close()


class PipeReader:
    """The end of a pipe out of a jail. Owns it."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.has_ended = False

    def read(self, most: int) -> bytes:
        """What there is, nothing where there is none now; at the pipe's end `has_ended` becomes true."""
        try:
            data = os.read(self.fd, most)
        except BlockingIOError:
            return b""
        self.has_ended = not data
        return data

    def read_present(self, piece_bytes: int) -> list[bytes]:
        """All that is in it at this moment, and nothing of what is written later."""
        waiting = bytearray(4)
        fcntl.ioctl(self.fd, termios.FIONREAD, waiting)
        left = int.from_bytes(waiting, sys.byteorder)
        pieces = []
        while left > 0 and (piece := self.read(min(left, piece_bytes))):
            left -= len(piece)
            pieces.append(piece)
        return pieces

    def close(self) -> None:
        """Let go of it: who writes there from now on gets EPIPE."""
        os.close(self.fd)


class PipeWriter:
    """The end of a pipe into a jail, a command's standard input. Owns it."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._has_room = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def write(self, data: bytes) -> None:
        """Write all of `data`, waiting for room; what nobody will read is dropped."""
        while data and self._fd >= 0:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                await self._room()
            except OSError:
                self.close()

    async def _room(self) -> None:
        self._has_room.clear()
        self._loop.add_writer(self._fd, self._has_room.set)
        try:
            await self._has_room.wait()
        finally:
            if self._fd >= 0:
                self._loop.remove_writer(self._fd)

    def close(self) -> None:
        """End the input; a `write` that waits has dropped the rest."""
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._has_room.set()


async def readable(fds: Iterable[int]) -> set[int]:
    """Wait until one of `fds` can be read or has ended; returns all those."""
    loop = asyncio.get_running_loop()
    ready: set[int] = set()
    some = asyncio.Event()

    def notice(fd: int) -> None:
        ready.add(fd)
        some.set()

    watched = list(fds)
    for fd in watched:
        loop.add_reader(fd, notice, fd)
    try:
        await some.wait()
    finally:
        for fd in watched:
            loop.remove_reader(fd)
    return ready


def close_all(fds: Iterable[int]) -> None:
    """Close each of `fds`."""
    for fd in fds:
        with suppress(OSError):
            os.close(fd)


@dataclass(frozen=True, slots=True)
class HostEnds:
    """The host's ends."""

    control: FrameSender
    report: PipeReader
    """What the agent says."""
    stdout: PipeReader
    stderr: PipeReader
    door: socket.socket
    """What its sites need is handed in here."""


@contextmanager
def connected(inner: ExitStack, owner: int | None) -> Iterator[tuple[HostEnds, tuple[int, ...]]]:
    """The host's ends until the block is left, and the inner ones, in the agent's order, until `inner` is.

    The outputs belong to the uid `owner`, so that who has one can also open it by name, as /dev/stderr.
    """
    with ExitStack() as ours:
        control, inner_control = _control(ours, inner)
        report, inner_report = _pipe_reader(ours, inner, None)
        stdout, inner_stdout = _pipe_reader(ours, inner, owner)
        stderr, inner_stderr = _pipe_reader(ours, inner, owner)
        door, inner_door = _door(ours, inner)
        host_ends = HostEnds(control, report, stdout, stderr, door)
        yield host_ends, (inner_control, inner_report, inner_stdout, inner_stderr, inner_door)


def pipe(readers: ExitStack, writers: ExitStack) -> tuple[int, int]:
    """A new pipe, its read end closed with the one stack, its write end with the other."""
    read_end, write_end = os.pipe()
    readers.callback(os.close, read_end)
    writers.callback(os.close, write_end)
    return read_end, write_end


def _control(ours: ExitStack, inner: ExitStack) -> tuple[FrameSender, int]:
    outer_end, inner_end = socket.socketpair()
    inner.enter_context(inner_end)
    control = FrameSender(outer_end)
    ours.callback(control.close)
    return control, inner_end.fileno()


def _pipe_reader(ours: ExitStack, inner: ExitStack, owner: int | None) -> tuple[PipeReader, int]:
    read_end, write_end = os.pipe()
    reader = PipeReader(read_end)
    ours.callback(reader.close)
    inner.callback(os.close, write_end)
    if owner is not None:
        os.fchown(write_end, owner, owner)
    return reader, write_end


def _door(ours: ExitStack, inner: ExitStack) -> tuple[socket.socket, int]:
    # Bounded by the kernel, in messages: a jail that takes none fills it, and that is all.
    outer_end, inner_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.enter_context(outer_end)
    inner.enter_context(inner_end)
    outer_end.shutdown(socket.SHUT_RD)
    return outer_end, inner_end.fileno()
