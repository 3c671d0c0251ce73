"""A control group of version 1: one for each controller, each in a tree of its own."""

import os
import signal
from contextlib import suppress

from sandbox_bridge.local.jail.cages.group import Group
from sandbox_bridge.local.jail.cages.means import read, table, write


class Cgroup1(Group):
    """One group; what it can do is its tree's controller's. Satisfies `Means`."""

    def limit_memory(self, count: int) -> None:
        """Memory and swap together can't be less than memory alone, so the order matters."""
        both = self._path / "memory.memsw.limit_in_bytes"
        with suppress(FileNotFoundError):
            write(both, -1)
        write(self._path / "memory.limit_in_bytes", count)
        try:
            write(both, count)
        except FileNotFoundError:  # a kernel that does not count swap
            write(self._path / "memory.swappiness", 0)

    def memory_bytes(self) -> int:
        """With the page cache and the disks in memory."""
        return int(read(self._path / "memory.usage_in_bytes"))

    def oom_kills(self) -> int:
        """Of any process in there."""
        return table(read(self._path / "memory.oom_control"))["oom_kill"]

    def cpu_s(self) -> float:
        """The file counts nanoseconds."""
        return int(read(self._path / "cpuacct.usage")) / 1e9

    def freeze_nowait(self) -> bool:
        """Asked for again each time: one that could not be frozen then may be now."""
        write(self._path / "freezer.state", "FROZEN")
        return self._is_frozen()

    def _is_frozen(self) -> bool:
        return read(self._path / "freezer.state").strip() == "FROZEN"

    def thaw_nowait(self) -> None:
        """Let go."""
        write(self._path / "freezer.state", "THAWED")

    def kill_frozen_nowait(self) -> None:
        """Here a frozen process dies only when it is thawed: all are told first, so that none runs on."""
        if self._is_frozen():
            for pid in map(int, read(self._path / "cgroup.procs").split()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.thaw_nowait()
