"""The agent: process 2 of a jail, the only one there that speaks with the host.

It writes the task's files, runs its commands one at a time, and carries their output out. It runs on the
system's Python (3.9 or newer) with few imports, since every session waits for its start. The host imports
this module too, for the frames; nothing here is trusted by the host: whatever runs beside the agent in the
jail may kill it or speak in its place.

A frame, both ways, is one byte of kind, four bytes of length (big endian) and a payload:

host to agent   FILE path · DATA bytes · SYNC · EXEC fields · SIGNAL one byte · HELPER source
agent to host   READY · SYNCED · FAILED errno, NUL, words · STDOUT bytes · STDERR bytes · EXITED status, full
                NOT_STARTED words

EXEC's fields are divided by NUL: the folder, the number of arguments, the arguments, then KEY=VALUE.
EXITED is the four bytes of the kernel's wait status and one of flags: DISK_FULL, SIGNALLED (by the host).
HELPER's source is a Python program that runs beside the commands, with the door as its standard input: a
second socket, on which the host hands in what its sites need. It is not a command: nobody hears of its end.

There is no credit on this socket: the agent reads no more output while the host does not read, and a full
pipe stops the process that writes.
"""

# pathlib and contextlib would cost each session 10 ms of its start.
# ruff: noqa: PTH103, PTH120, PTH123, SIM105

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import signal
import sys
import termios

READY, SYNCED, FAILED, STDOUT, STDERR, EXITED, NOT_STARTED = b"R", b"K", b"E", b"o", b"e", b"x", b"n"
FILE, DATA, SYNC, EXEC, SIGNAL, HELPER = b"F", b"D", b"Z", b"X", b"S", b"H"
DISK_FULL, SIGNALLED = 1, 2

HEADER_BYTES = 5
READ_BYTES = 64 << 10
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


class Agent:
    """One loop over the host's socket, the two output pipes and the running command."""

    def __init__(self, control: int, door: int) -> None:
        self._control = control
        self._door = door
        self._inbox = Unpacker(max_payload=64 << 20)
        self._outbox = bytearray()
        self._file = -1
        self._failure = b""
        self._child = 0
        self._pidfd = -1
        self._was_signalled = False
        # One pair of pipes for the whole session, so that what a command left in the background can write on.
        self._pipes: dict[int, bytes] = {}
        self._write_ends = [self._open_pipe(STDOUT), self._open_pipe(STDERR)]
        self._handlers = {
            FILE: self._open_file,
            DATA: self._write_data,
            SYNC: self._sync,
            EXEC: self._exec,
            SIGNAL: self._signal,
            HELPER: self._help,
        }

    def _open_pipe(self, kind: bytes) -> int:
        read_end, write_end = os.pipe()
        # Whoever is in the jail may read our pipe behind our back: a read must not block.
        os.set_blocking(read_end, False)
        self._pipes[read_end] = kind
        return write_end

    def run(self) -> None:
        """Serve until the host hangs up."""
        self._send(READY)
        while True:
            ready = self._wait()
            if self._pidfd in ready:
                self._end_command()
            for fd in self._pipes:
                if fd in ready:
                    self._carry(fd, READ_BYTES)
            if ready.get(self._control, 0) & ~select.POLLOUT and not self._receive():
                return
            self._flush()

    def _wait(self) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._control, select.POLLIN | (select.POLLOUT if self._outbox else 0))
        if not self._outbox:
            for fd in [*self._pipes, *([self._pidfd] if self._child else [])]:
                poll.register(fd, select.POLLIN)
        return dict(poll.poll())

    # --- the host's socket ----------------------------------------------------------------------------

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        self._outbox += pack(kind, payload)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._outbox:
                del self._outbox[: os.write(self._control, self._outbox)]
        except BlockingIOError:
            pass

    def _receive(self) -> bool:
        try:
            data = os.read(self._control, READ_BYTES)
        except BlockingIOError:
            return True
        self._inbox.feed(data)
        while (frame := self._inbox.next_nowait()) is not None:
            self._handlers[frame[0]](frame[1])
        return bool(data)

    # --- files ----------------------------------------------------------------------------------------

    def _open_file(self, path: bytes) -> None:
        self._close_file()
        if self._failure:
            return
        try:
            os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            self._fail(error)

    def _write_data(self, data: bytes) -> None:
        try:
            while data and self._file >= 0:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._close_file()
        self._failure = b"%d\0%s" % (error.errno or 0, os.strerror(error.errno or 0).encode())

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _sync(self, _payload: bytes) -> None:
        self._close_file()
        if self._failure:
            self._send(FAILED, self._failure)
        else:
            self._send(SYNCED)

    # --- commands -------------------------------------------------------------------------------------

    def _exec(self, payload: bytes) -> None:
        folder, count, *rest = payload.split(b"\0")
        argv, environment = rest[: int(count)], dict(pair.split(b"=", 1) for pair in rest[int(count) :])
        try:
            self._child = os.fork()
        except OSError as error:
            self._send(NOT_STARTED, os.strerror(error.errno or 0).encode())
            return
        if self._child == 0:
            self._become(folder, argv, environment)
        self._pidfd = os.pidfd_open(self._child)
        self._was_signalled = False

    def _become(self, folder: bytes, argv: list[bytes], environment: dict[bytes, bytes]) -> None:
        try:
            # A group of its own, to be signalled as one.
            os.setsid()
            for target, write_end in enumerate(self._write_ends, start=1):
                os.dup2(write_end, target)
            restore_signals()
            os.chdir(folder)
            os.execvpe(argv[0], argv, environment)  # noqa: S606 - the task says what to run
        except OSError as error:
            words = os.strerror(error.errno or 0).encode()
            os.write(2, b"cannot run %s in %s: %s\n" % (argv[0], folder, words))
            os._exit(127 if error.errno == errno.ENOENT else 126)
        finally:
            os._exit(126)

    def _help(self, source: bytes) -> None:
        try:
            if os.fork():
                return
        except OSError:
            return  # the host finds that its site does not answer
        try:
            os.setsid()
            os.dup2(self._door, 0)
            argv = [sys.executable, "-I", "-S", "-c", source.decode()]
            os.execve(argv[0], argv, {})  # noqa: S606 - the host says what to run
        finally:
            os._exit(126)

    def _signal(self, payload: bytes) -> None:
        if not self._child:
            return
        self._was_signalled = True
        try:
            os.killpg(self._child, payload[0])
        except ProcessLookupError:
            pass

    def _end_command(self) -> None:
        """Send what the command left in the pipes, then its status."""
        _, status = os.waitpid(self._child, 0)
        os.close(self._pidfd)
        self._child, self._pidfd = 0, -1
        for fd in self._pipes:
            # What is there now is the command's; what the background writes later comes later.
            waiting = bytearray(4)
            fcntl.ioctl(fd, termios.FIONREAD, waiting)
            left = int.from_bytes(waiting, sys.byteorder)
            while left > 0 and (carried := self._carry(fd, min(left, READ_BYTES))):
                left -= carried
        flags = DISK_FULL if is_full(WORK) or is_full(TMP) else 0
        flags |= SIGNALLED if self._was_signalled else 0
        self._send(EXITED, status.to_bytes(4, "big") + bytes([flags]))

    def _carry(self, fd: int, most: int) -> int:
        try:
            data = os.read(fd, most)
        except BlockingIOError:
            return 0
        self._send(self._pipes[fd], data)
        return len(data)


def is_full(folder: str) -> bool:
    """Whether not one more block fits into `folder`'s disk."""
    usage = os.statvfs(folder)
    return usage.f_bavail == 0 or (usage.f_files > 0 and usage.f_favail == 0)


def restore_signals() -> None:
    """Give a command the signals' defaults, whatever this interpreter did with them."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def limit_self(processes: int) -> None:
    """Take on the limits that everything below inherits and nothing can raise; `processes` 0 sets none."""
    # 1, not 0: only 1 also keeps the kernel from starting the host's crash handler.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    if processes:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    try:
        # When the machine runs out of memory, what runs in a jail goes first.
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
    except OSError:
        pass


def main(control: int, door: int, processes: int) -> None:
    """Run on the sockets `control` and `door`, inherited from the host."""
    low, high = sorted((control, door))
    for first, end in ((3, low), (low + 1, high), (high + 1, 1024)):
        os.closerange(first, end)
    os.set_inheritable(control, False)
    os.set_inheritable(door, False)
    os.set_blocking(control, False)
    quiet = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(quiet, fd)
    # A command that signals everybody should not end its own session.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    limit_self(processes)
    os.chdir(WORK)
    Agent(control, door).run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
