"""What a control group is in either version: a folder that processes are moved into, and that counts them."""

from sandbox_bridge.local.jail.cages.branches import Folder
from sandbox_bridge.local.jail.cages.means import read, table, write
from sandbox_bridge.local.jail.processes import children


class Group:
    """One group of the kernel's, made anew. A part of `Means`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._path = folder.make()

    def admit(self, init_pid: int) -> None:
        """Take in a jail's first process and its children.

        The kernel forks nobody while it moves somebody: a child is there to be seen, or is born in here.
        """
        procs = self._path / "cgroup.procs"
        write(procs, init_pid)
        for pid in children(init_pid):
            write(procs, pid)

    def holds(self, pids: set[int]) -> bool:
        """As the kernel lists them."""
        return pids <= set(map(int, read(self._path / "cgroup.procs").split()))

    def limit_processes(self, count: int) -> None:
        """Threads count, too."""
        write(self._path / "pids.max", count)

    def refused_forks(self) -> int:
        """As the kernel counts them."""
        return table(read(self._path / "pids.events"))["max"]

    def remove(self) -> None:
        """Its files go with it."""
        self._folder.remove(self._path)
