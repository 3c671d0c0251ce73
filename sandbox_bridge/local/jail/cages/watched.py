"""A cage where the kernel gives no control groups: its processes are watched, and stopped by signals.

They are found in the jail's own `/proc`, which the kernel fills, no task can change or cover, and which is complete: a
list of all in the jail's pid namespace, in the order of their numbers. Its folders serve as pidfds.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sandbox_bridge.local.jail.cages.means import read, table

INODE_BYTES = 1024
"""What a file, however small, takes of the kernel's memory."""
SOCKET_BYTES = (208 << 10) + (64 << 10)
"""What may lie in a socket: the kernel's default, at which the filter of system calls keeps it, and a piece more."""
PIPE_BYTES = 8 << 10
"""What the kernel gives a pipe of a user who has many."""
_FREE_SOCKETS, _FREE_DESCRIPTORS = 32, 256
"""Of a jail, and of each process, that nobody counts: so many are no bomb."""
_STILL = frozenset("TtZX")
"""States in which a process runs nothing until somebody wakes it, if it is alive at all."""
_LOOKS = 20
"""Each takes 0.1 ms for a small jail."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Watched:
    """Satisfies `Means`; the limits are whoever watches' to hold."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._limit_bytes = 0
        self._most_processes = 0
        self._fulls = 0
        self._cpu_s = 0.0
        self._quiet: dict[str, str] | None = None  # who stood still at the last look, if all did
        self._stopped: dict[str, str] = {}  # inner pid to its time of start

    def admit(self, init_pid: int) -> None:
        """Know where its `/proc` will be."""
        self._root = Path(f"/proc/{init_pid}")

    def holds(self, pids: set[int]) -> bool:
        """It watches a pid namespace, which nobody leaves."""
        return self._root is not None and bool(pids)

    def limit_memory(self, count: int) -> None:
        """Only to know from where on to look closely."""
        self._limit_bytes = count

    def memory_bytes(self) -> int:
        """Disks, and what processes hold of their own; shared pages are told apart where that matters.

        Or what may lie in sockets and pipes, where that is more: it can't be seen, and may be nothing.
        """
        if self._root is None:
            return 0
        disks = sum(_disk_bytes(self._root))
        held = sum(_own_bytes(folder) for folder in self._processes())
        if self._limit_bytes and disks + held > self._limit_bytes:
            held = sum(_fair_bytes(folder) for folder in self._processes())
        return max(disks + held, self._buffer_bytes(self._root))

    def _buffer_bytes(self, root: Path) -> int:
        """At most what lies in sockets and pipes; sockets that only another socket holds are counted, too."""
        slots = sum(max(0, _slots(folder) - _FREE_DESCRIPTORS) for folder in self._processes())
        return max(0, _sockets(root) - _FREE_SOCKETS) * SOCKET_BYTES + slots // 2 * PIPE_BYTES

    def oom_kills(self) -> int:
        """The kernel kills nobody for our limits."""
        return 0

    def limit_processes(self, count: int) -> None:
        """RLIMIT_NPROC does that, set from inside; here only to know when there is no room for another."""
        self._most_processes = count

    def refused_forks(self) -> int:
        """Nobody counts those of RLIMIT_NPROC: so this is how often there was no room when we looked.

        Or for one: whoever was refused another has ended of it, perhaps, when we look.
        """
        if self._root is not None and sum(map(_threads, self._processes())) + 1 >= self._most_processes:
            self._fulls += 1
        return self._fulls

    def cpu_s(self) -> float:
        """Of all that live, and of those they have waited for."""
        ticks = 0
        for folder in self._processes():
            with suppress(OSError):
                ticks += sum(map(int, _stat(folder)[11:15]))
        self._cpu_s = max(self._cpu_s, ticks / _TICKS)
        return self._cpu_s

    def freeze_nowait(self) -> bool:
        """Stop what runs, with a few looks at once: who always forks is caught by speed."""
        return any(self._look() for _ in range(_LOOKS))

    def _look(self) -> bool:
        """Stop what runs; all stand still once two looks in a row have found the same processes, and none that does.

        The same: a process that has died meanwhile looks still, and may have left a child that neither look saw.
        """
        seen: dict[str, str] = {}
        is_quiet = True
        for folder in self._processes():
            try:
                seen[folder.name] = _stat(folder)[19]
                is_quiet = self._stop(folder, seen[folder.name]) and is_quiet
            except OSError:
                is_quiet = False  # it went while we looked, and may have left another
        was_quiet, self._quiet = self._quiet, seen if is_quiet else None
        return is_quiet and was_quiet == seen

    def _stop(self, folder: Path, started: str) -> bool:
        """Whether a process stands still; it is told to where it doesn't."""
        states = {_stat(thread)[0] for thread in (folder / "task").iterdir()}
        if states <= _STILL:
            return True
        # Told again each time: one that still runs may have woken it.
        _signal(folder, signal.SIGSTOP)
        was_told = self._stopped.get(folder.name) == started
        self._stopped[folder.name] = started
        # One that sleeps deep in the kernel stops on its way back, and runs nothing until then.
        return was_told and states <= _STILL | {"D"}

    def thaw_nowait(self) -> None:
        """Wake those whom we have stopped, and nobody who was stopped before."""
        for folder in self._processes():
            with suppress(OSError):
                if self._stopped.get(folder.name) == _stat(folder)[19]:
                    _signal(folder, signal.SIGCONT)
        self._stopped.clear()
        self._quiet = None

    def kill_frozen_nowait(self) -> None:
        """A kill reaches stopped processes by itself."""

    def remove(self) -> None:
        """Its number may be another's from now on."""
        self._root = None

    def _processes(self) -> Iterator[Path]:
        if self._root is None:
            return
        proc = self._root / "root" / "proc"
        with suppress(OSError):
            yield from [path for path in proc.iterdir() if path.name.isdigit()]


def _stat(folder: Path) -> list[str]:
    """The fields of `stat` from the state on: what stands before may hold any character."""
    return read(folder / "stat").rpartition(")")[2].split()


def _signal(folder: Path, number: int) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        signal.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


def _threads(folder: Path) -> int:
    """How many a process counts for; a dead one that nobody has asked after is one, too."""
    with suppress(OSError):
        return max(1, int(_stat(folder)[17]))
    return 0


def _slots(folder: Path) -> int:
    """How many descriptors a process has room for; a power of two, and never less than it has."""
    with suppress(OSError):
        return table(read(folder / "status")).get("FDSize", 0)
    return 0


def _sockets(root: Path) -> int:
    """How many there are in a jail's network, of all kinds, with an owner or without."""
    with suppress(OSError, IndexError):
        return int(read(root / "net" / "sockstat").splitlines()[0].split()[2])
    return 0


def _own_bytes(folder: Path) -> int:
    """At most what a process holds: pages that it shares with another count for both."""
    with suppress(OSError):
        sizes = table(read(folder / "status"))
        return sum(sizes.get(name, 0) for name in ("RssAnon", "RssShmem", "VmSwap", "VmPTE")) << 10
    return 0


def _fair_bytes(folder: Path) -> int:
    """Its share of what it holds. Costs milliseconds for a large process."""
    with suppress(OSError):
        shares = table(read(folder / "smaps_rollup"))
        return sum(shares.get(name, 0) for name in ("Pss_Anon", "Pss_Shmem", "SwapPss")) << 10
    return 0


def _disk_bytes(init: Path) -> Iterator[int]:
    """What each of the jail's own disks in memory takes; its table of mounts can't be changed from inside."""
    with suppress(OSError):
        seen = set()
        for line in read(init / "mountinfo").splitlines():
            left, _, right = line.partition(" - ")
            fields = left.split()
            if right.startswith("tmpfs ") and fields[2] not in seen:
                seen.add(fields[2])
                yield _tmpfs_bytes(init / "root" / fields[4].lstrip("/"))


def _tmpfs_bytes(path: Path) -> int:
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        disk = os.statvfs(fd)
    finally:
        os.close(fd)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize + (disk.f_files - disk.f_ffree) * INODE_BYTES
