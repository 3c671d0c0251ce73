"""A control group of version 2: freezing and counting work in any, limits where their controllers are on."""

from contextlib import suppress
from pathlib import Path

from sandbox_bridge.local.jail.cages.branches import MAIN, Folder
from sandbox_bridge.local.jail.cages.group import Group
from sandbox_bridge.local.jail.cages.means import read, table, write

WANTED = frozenset({"memory", "pids"})
_ROUNDS = 5


class Cgroup2(Group):
    """One group. Satisfies `Means`."""

    def limit_memory(self, count: int) -> None:
        """Swap is off for it, so that memory is all there is."""
        write(self._path / "memory.max", count)
        with suppress(FileNotFoundError):  # a kernel that has no swap to limit
            write(self._path / "memory.swap.max", 0)

    def memory_bytes(self) -> int:
        """With the page cache and the disks in memory."""
        return int(read(self._path / "memory.current"))

    def oom_kills(self) -> int:
        """Of any process in there."""
        return table(read(self._path / "memory.events"))["oom_kill"]

    def cpu_s(self) -> float:
        """Counted in every group, controller or not."""
        return table(read(self._path / "cpu.stat"))["usage_usec"] / 1e6

    def freeze_nowait(self) -> bool:
        """The kernel says when the last one stands."""
        write(self._path / "cgroup.freeze", 1)
        return table(read(self._path / "cgroup.events"))["frozen"] == 1

    def thaw_nowait(self) -> None:
        """Let go."""
        write(self._path / "cgroup.freeze", 0)

    def kill_frozen_nowait(self) -> None:
        """A kill reaches frozen processes by itself."""


def enable_controllers(folder: Folder) -> frozenset[str]:
    """Turn on, for the groups in `folder`, what is wanted and can be had; returns that."""
    base = folder.branch.path
    wanted = WANTED & set(read(base / "cgroup.controllers").split())
    with suppress(OSError):
        if not wanted <= set(read(base / "cgroup.subtree_control").split()):
            _enable_beside_us(base, folder.path / MAIN, wanted)
        _enable(folder.path, wanted)
    return WANTED & set(read(folder.path / "cgroup.subtree_control").split())


def _enable(path: Path, wanted: frozenset[str]) -> None:
    write(path / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(wanted)))


def _enable_beside_us(base: Path, leaf: Path, wanted: frozenset[str]) -> None:
    """A group with processes of its own can't hold others to a limit: ours move into a leaf first."""
    with suppress(OSError):
        _enable(base, wanted)
        return
    leaf.mkdir()
    for _ in range(_ROUNDS):
        # Who forks meanwhile leaves another one behind.
        pids = [int(word) for word in read(base / "cgroup.procs").split()]
        _check_kin(pids)
        for pid in pids:
            with suppress(ProcessLookupError):
                write(leaf / "cgroup.procs", pid)
        with suppress(OSError):
            _enable(base, wanted)
            return


def _check_kin(pids: list[int]) -> None:
    """Raises OSError where one of `pids` has nothing to do with us: strangers are not moved about."""
    parents = {pid: _parent(pid) for pid in pids}
    if len({_eldest(pid, parents) for pid in pids}) > 1:
        raise PermissionError("others live in our control group")


def _parent(pid: int) -> int:
    try:
        return int(read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _eldest(pid: int, parents: dict[int, int]) -> int:
    while parents.get(parents[pid]) is not None:
        pid = parents[pid]
    return pid
