"""Taking more than one's share. Every loop is bounded in count, and the task in time."""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.escapes.attacks.attempts import LIBC, answer

MOST = 20_000
Counted = Callable[..., "tuple[int, str]"]
PIECE = b"\1" * (1 << 20)
F_SETPIPE_SZ = 1031


def until_refused(action: Callable[[], object], most: int = MOST) -> tuple[int, str]:
    """How often `action` went well, and what it ended in."""
    for count in range(most):
        try:
            action()
        except (OSError, RuntimeError, MemoryError) as error:
            number = getattr(error, "errno", None)
            return count, errno.errorcode.get(number, str(error)) if number else type(error).__name__
    return most, "done"


def processes(most: int) -> tuple[int, str]:
    """Start processes that stay."""
    children: list[int] = []
    found = until_refused(lambda: children.append(_stay()), most)
    _kill(children)
    return found


def _stay() -> int:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def _kill(children: list[int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def zombies(most: int) -> tuple[int, str]:
    """Start processes that end at once, and never ask how."""
    return until_refused(_end_at_once, most)


def _end_at_once() -> None:
    if os.fork() == 0:
        os._exit(0)


def threads(most: int) -> tuple[int, str]:
    """Start threads that stay."""
    stop = threading.Event()
    found = until_refused(lambda: threading.Thread(target=stop.wait, daemon=True).start(), most)
    stop.set()
    return found


def daemons(count: int) -> int:
    """Leave processes that have left our group and our session, and ignore every signal they can."""
    for _ in range(count):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            while True:
                signal.pause()
    for _ in range(count):
        os.wait()
    return count


def fork_for_ever() -> None:
    """Every process starts two more, for ever: the task's clock ends it."""
    while True:
        answer(os.fork)


def spin(count: int) -> None:
    """Keep every processor busy, for ever: the task's clock ends it."""
    for _ in range(count):
        if os.fork() == 0:
            break
    while True:
        pass


# --- memory ---


def _write_on(write: Callable[[], object], most_mb: int) -> None:
    """Call `write`, which takes a MiB, up to `most_mb` times, and keep it all until we are killed."""
    for _ in range(most_mb):
        write()
    signal.pause()


def memory(most_mb: int) -> None:
    """Fill memory."""
    kept: list[Any] = []
    _write_on(lambda: kept.append(bytearray(PIECE)), most_mb)


def memory_of_many(most_mb: int, count: int) -> None:
    """Fill memory from many processes, each of which has little."""
    for _ in range(count):
        if os.fork() == 0:
            memory(most_mb // count)
    signal.pause()


def mapped_memory(most_mb: int) -> None:
    """Fill shared anonymous memory."""
    shared = mmap.mmap(-1, most_mb << 20)
    _write_on(lambda: shared.write(PIECE), most_mb)


def memory_files(most_mb: int) -> None:
    """Fill files that have no name, and are in nobody's address space."""
    fd = os.memfd_create("bomb")
    _write_on(lambda: os.write(fd, PIECE), most_mb)


def segments(most_mb: int) -> None:
    """Fill System V segments, and detach them."""
    LIBC.shmat.restype = ctypes.c_void_p
    _write_on(_segment, most_mb)


def _segment() -> None:
    segment = LIBC.shmget(0, len(PIECE), 0o1600)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    address = LIBC.shmat(segment, None, 0)
    ctypes.memmove(address, PIECE, len(PIECE))
    LIBC.shmdt(ctypes.c_void_p(address))


def sockets(most_mb: int) -> None:
    """Fill sockets that nobody reads, each made as large as it gets."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kept: list[socket.socket] = []
    written = 0
    # So many that each may have them, and then keeps them.
    while written < most_mb << 20 and len(kept) < most - 64:
        kept += socket.socketpair()
        kept[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        kept[-1].setblocking(False)
        written += _fill(kept[-1].fileno())
    signal.pause()


def filled_pipes(most_mb: int, count: int) -> None:
    """Fill pipes that nobody reads, from many processes."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for _ in range(count - 1):
        if os.fork() == 0:
            break
    written = end = 0
    while written < (most_mb << 20) // count and end < most - 64:
        _, end = os.pipe()
        os.set_blocking(end, False)
        written += _fill(end)
    signal.pause()


def _fill(fd: int) -> int:
    """How many bytes go in before it is full."""
    written = 0
    try:
        while True:
            written += os.write(fd, PIECE)
    except BlockingIOError:
        return written


def in_a_pipeline() -> int:
    """Run a bomb in the middle of a pipeline whose last command ends well."""
    bomb = "python3 -c 'x=[bytearray(1<<20) for _ in range(1024)]; print(len(x))'"
    return os.waitstatus_to_exitcode(os.system(f"echo start | {bomb} | cat"))  # noqa: S605


# --- disks ---


def disk(folder: str, most_mb: int) -> tuple[int, str]:
    """Fill a disk; it stays full."""
    fd = os.open(f"{folder}/bomb", os.O_WRONLY | os.O_CREAT)
    return until_refused(lambda: _write_all(fd), most_mb)


def _write_all(fd: int) -> None:
    left = PIECE
    while left:
        left = left[os.write(fd, left) :]


def inodes(most: int) -> tuple[int, str]:
    """Make empty files."""
    names = iter(range(most + 1))
    return until_refused(lambda: os.close(os.open(f"/work/{next(names)}", os.O_CREAT)), most)


def sparse_file() -> dict[str, int]:
    """Make a file of 1 TiB without a byte in it."""
    os.truncate(os.open("/work/sparse", os.O_CREAT | os.O_RDWR), 1 << 40)
    status = os.stat("/work/sparse")
    return {"size": status.st_size, "blocks": status.st_blocks}


def deep_tree(levels: int) -> int:
    """Make folders in folders."""
    for level in range(levels):
        os.mkdir("d")
        os.chdir("d")
        if answer(os.stat, ".") != "done":
            return level
    Path("bottom").write_text("bottom", encoding="ascii")
    return levels


# --- the kernel's tables ---


def descriptors() -> tuple[int, str]:
    """Open files until there are no more."""
    return until_refused(lambda: os.open("/dev/null", os.O_RDONLY), 200_000)


def in_flight() -> tuple[int, str]:
    """Put descriptors on their way through sockets, as many as go, and wait."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rights = array.array("i", [os.open("/dev/null", os.O_RDONLY)] * 250)
    kept = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(100)]
    ways = iter([left for left, _ in kept for _ in range(5)])
    message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
    found = until_refused(lambda: next(ways).sendmsg([b"x"], message, socket.MSG_DONTWAIT), 5 * len(kept))
    return _say_and_wait(found)


def pipes() -> tuple[int, str]:
    """Take pipes as large as they get, and wait."""
    kept: list[Any] = []

    def make() -> None:
        kept.append(os.pipe())
        answer(fcntl.fcntl, kept[-1][1], F_SETPIPE_SZ, 1 << 20)

    found = until_refused(make, 400)
    return _say_and_wait(found)


def watches() -> tuple[int, str]:
    """Take what the kernel counts for each user: watches, terminals, timers, queues; and wait."""
    inotify = until_refused(lambda: _wanted(LIBC.inotify_init()))
    terminals = until_refused(os.openpty, 2000)
    events = until_refused(lambda: _wanted(LIBC.eventfd(0, 0)), 2000)
    queues = until_refused(
        lambda: _wanted(LIBC.mq_open(b"/q%d" % time.monotonic_ns(), 0o102, 0o600, None)), 2000
    )
    return _say_and_wait((min(inotify[0], terminals[0], events[0], queues[0]), inotify[1]))


def _say_and_wait(found: tuple[int, str]) -> tuple[int, str]:
    sys.stdout.write(f"taken: {found}\n")
    sys.stdout.flush()
    signal.pause()
    return found


def _wanted(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno() or errno.EMFILE, "refused")


# --- output ---


def output(stream: int) -> None:
    """Write for ever: the task's clock ends it."""
    while True:
        os.write(stream, PIECE)


def steal_output() -> None:
    """Read back what we write, so that what the host has counted is not there when it reads. Until we are killed."""
    read_end = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        os.write(1, b"x" * 4096)
        answer(os.read, read_end, 1 << 16)


def unsettle_output() -> list[str]:
    """Make the pipes that we share with all commands after us small, not blocking, and ours."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    answers = []
    for fd in (1, 2):
        answers.append(answer(fcntl.fcntl, fd, F_SETPIPE_SZ, 4096))
        answers.append(answer(os.set_blocking, fd, False))
        answers.append(answer(fcntl.fcntl, fd, fcntl.F_SETOWN, -os.getpgrp()))
        answers.append(answer(fcntl.fcntl, fd, fcntl.F_SETFL, os.O_NONBLOCK | fcntl.FASYNC))
    return answers
