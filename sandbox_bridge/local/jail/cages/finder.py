"""Which means this machine has: each is tried on a real process, and the best that works is taken."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandbox_bridge.local.jail.cages.base import Cage, CageError
from sandbox_bridge.local.jail.cages.branches import Branch, Folder, open_folder, own_branches
from sandbox_bridge.local.jail.cages.cage import JailCage, MeansOf
from sandbox_bridge.local.jail.cages.cgroup1 import Cgroup1
from sandbox_bridge.local.jail.cages.cgroup2 import Cgroup2, enable_controllers
from sandbox_bridge.local.jail.cages.means import Means, read
from sandbox_bridge.local.jail.cages.notice import Notice
from sandbox_bridge.local.jail.cages.watched import Watched

_USEFUL = frozenset({"memory", "pids", "cpuacct", "freezer"})
_TRIAL_MEMORY_BYTES = 64 << 20
_TRIAL_PROCESSES = 64
_TRIAL_STEPS = 200
_TRIAL_PACE_S = 0.001


class Cages:
    """Makes cages of what was found. Made by `find_cages`; to be closed after the last cage."""

    def __init__(self, folders: dict[str, Folder | None], rest: str) -> None:
        self._folders = folders
        self._notice = Notice()
        self.description: dict[str, str | bool] = {need: _name(folder) for need, folder in folders.items()}
        """Which means serves which need, for `isolation`."""
        self.description |= {} if folders["processes"] is not None else {"processes": rest}
        self.description |= {} if folders["freeze"] is not None else {"freeze": "signals"}
        self.enforces_memory = folders["memory"] is not None

    def give_notice(self) -> None:
        """Have the kernel ready to take a jail in, soon; for a thread, since it takes its time."""
        if any(self._folders.values()):
            self._notice.give()

    def make(self) -> Cage:
        """An empty cage. Raises `CageError`."""
        watched = Watched()
        made: dict[str, Means] = {}
        try:
            for folder in self._folders.values():
                if folder is not None and str(folder.path) not in made:
                    made[str(folder.path)] = _group(folder)
        except OSError as error:
            for means in made.values():
                means.remove()
            raise CageError(f"can't make a control group: {error}") from error
        chosen = {
            need: watched if folder is None else made[str(folder.path)]
            for need, folder in self._folders.items()
        }
        return JailCage(MeansOf(**chosen), enforces_memory=self.enforces_memory)

    def close(self) -> None:
        """Remove what we have made in the kernel's trees."""
        for folder in {id(folder): folder for folder in self._folders.values()}.values():
            if folder is not None:
                folder.close()


async def find_cages(*, counts_processes: bool, only: str | None = None) -> Cages:
    """Try what this machine has. `counts_processes`: whether RLIMIT_NPROC holds each jail by itself.

    `only` leaves all out but one means: `cgroup2`, `cgroup1` or `watchdog`.
    """
    folders = [folder for branch in _branches() if (folder := _open(branch)) is not None]
    found: dict[str, Folder | None] = dict.fromkeys(("memory", "processes", "cpu", "freeze"))
    for folder in folders:
        if only in {None, _name(folder)}:
            for need in await _works(folder):
                found[need] = found[need] or folder
    for folder in folders:
        if not any(folder is chosen for chosen in found.values()):
            folder.close()
    return Cages(found, rest="rlimit" if counts_processes else "none")


def _name(folder: Folder | None) -> str:
    return "watchdog" if folder is None else f"cgroup{folder.branch.version}"


def _group(folder: Folder) -> Means:
    return Cgroup2(folder) if folder.branch.version == 2 else Cgroup1(folder)


def _branches() -> list[Branch]:
    try:
        branches = own_branches(
            read(Path("/proc/self/cgroup")), Path("/proc/self/mountinfo").read_text("utf-8")
        )
    except (OSError, ValueError):
        return []
    return [branch for branch in branches if branch.version == 2 or branch.controllers & _USEFUL]


def _open(branch: Branch) -> Folder | None:
    try:
        folder = open_folder(branch)
    except OSError:
        return None
    if branch.version == 2:
        with suppress(OSError):
            enable_controllers(folder)
    return folder


# --- trying it ----------------------------------------------------------------------------------------


async def _works(folder: Folder) -> list[str]:
    """The needs that a group in `folder` serves."""
    works: list[str] = []
    with suppress(OSError), _process() as pid, _trial_group(folder) as group:
        group.admit(pid)
        works += [need for need, trial in _TRIALS.items() if await _holds(trial, group)]
    return works


async def _holds(trial: Callable[[Means], Awaitable[bool]], group: Means) -> bool:
    try:
        return await trial(group)
    except (OSError, LookupError, ValueError):
        return False


async def _tries_memory(group: Means) -> bool:
    group.limit_memory(_TRIAL_MEMORY_BYTES)
    return group.memory_bytes() >= 0 and group.oom_kills() == 0


async def _tries_processes(group: Means) -> bool:
    group.limit_processes(_TRIAL_PROCESSES)
    return group.refused_forks() == 0


async def _tries_cpu(group: Means) -> bool:
    return group.cpu_s() >= 0


async def _tries_freeze(group: Means) -> bool:
    try:
        for _ in range(_TRIAL_STEPS):
            if group.freeze_nowait():
                return True
            await asyncio.sleep(_TRIAL_PACE_S)
        return False
    finally:
        group.thaw_nowait()


_TRIALS = {
    "memory": _tries_memory,
    "processes": _tries_processes,
    "cpu": _tries_cpu,
    "freeze": _tries_freeze,
}


@contextmanager
def _process() -> Iterator[int]:
    """A process that waits, until the block is left."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, env={}, cwd="/") as process:
        try:
            yield process.pid
        finally:
            process.kill()


@contextmanager
def _trial_group(folder: Folder) -> Iterator[Means]:
    group = _group(folder)
    try:
        yield group
    finally:
        group.remove()
