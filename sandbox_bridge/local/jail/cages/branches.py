"""Where in the kernel's trees of control groups we are ourselves, and the folder of ours there.

Cages stand below our own group, never beside it: so they stay inside whatever holds us. A folder is locked while its
service lives; the next service removes those of dead ones, which nobody locks any more.
"""

import errno
import fcntl
import itertools
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PREFIX = "sandbox-bridge-"
MAIN = "main"
"""The leaf in a folder where the service itself lives, in a tree that allows no processes beside groups."""
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Branch:
    """Our own group in one tree."""

    version: int
    controllers: frozenset[str]
    """Those of the tree, in version 1; in version 2 the group itself tells."""
    path: Path


def own_branches(cgroups: str, mounts: str) -> list[Branch]:
    """Our groups, version 2 first, out of `/proc/self/cgroup` and `/proc/self/mountinfo`. Pure."""
    branches = [
        Branch(1 if controllers else 2, controllers, _without_our_leaf(path))
        for controllers, path in own_groups(cgroups, mounts)
    ]
    return sorted(branches, key=lambda branch: -branch.version)


def own_groups(cgroups: str, mounts: str) -> list[tuple[frozenset[str], Path]]:
    """The groups that we are in, each with its tree's controllers. Pure."""
    found = []
    for line in cgroups.splitlines():
        _, names, path = line.split(":", 2)
        controllers = frozenset(names.split(",")) - {""}
        group = _mounted_at(controllers, path, mounts)
        if group is not None:
            found.append((controllers, group))
    return found


def _mounted_at(controllers: frozenset[str], path: str, mounts: str) -> Path | None:
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        root, point = (_unescaped(word) for word in left.split()[3:5])
        kind, _, options = [*right.split(), "", "", ""][:3]
        if kind != ("cgroup" if controllers else "cgroup2") or not controllers <= set(options.split(",")):
            continue
        below = f"{root.rstrip('/')}/"
        if f"{path}/".startswith(below) and ".." not in Path(path).parts:
            return Path(point, path[len(below) :])
    return None


def _unescaped(word: str) -> str:
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), word)


def _without_our_leaf(path: Path) -> Path:
    """A service that has moved itself into a leaf may have started us there."""
    if path.name == MAIN and path.parent.name.startswith(PREFIX):
        return _without_our_leaf(path.parent.parent)
    return path


class Folder:
    """A service's folder in one branch, its own while it lives. Made by `open_folder`."""

    def __init__(self, branch: Branch, path: Path, lock: int) -> None:
        self.branch = branch
        self.path = path
        self._lock = lock
        self._numbers = itertools.count(1)
        self._leftovers: set[Path] = set()

    def make(self) -> Path:
        """A new empty group. Raises OSError."""
        for path in list(self._leftovers):
            self.remove(path)
        path = self.path / str(next(self._numbers))
        path.mkdir()
        return path

    def remove(self, path: Path) -> None:
        """Remove a group of ours, later where the last of its dead is still about to go."""
        self._leftovers.add(path)
        with suppress(OSError):
            path.rmdir()
            self._leftovers.discard(path)

    def close(self) -> None:
        """Remove it, as far as nobody is in there, and let go of it."""
        _remove_folder(self.path)
        os.close(self._lock)


def open_folder(branch: Branch) -> Folder:
    """A new folder in `branch`; those of dead services go. Raises OSError where we may not."""
    for path in branch.path.glob(f"{PREFIX}*"):
        _remove_if_dead(path)
    for _ in range(_TRIES):
        path = branch.path / f"{PREFIX}{secrets.token_hex(4)}"
        path.mkdir()
        # Until it is locked, another service that starts now may take it for a dead one's.
        with suppress(FileNotFoundError, BlockingIOError):
            return Folder(branch, path, _locked(path))
    raise OSError(errno.EAGAIN, "too many services start at once")


def _locked(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.stat()  # it may have gone meanwhile
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove_if_dead(path: Path) -> None:
    with suppress(OSError):
        lock = _locked(path)
        try:
            _remove_folder(path)
        finally:
            os.close(lock)


def _remove_folder(path: Path) -> None:
    """The kernel removes only what is empty, so nothing that lives can go."""
    with suppress(OSError):
        for entry in [entry for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]:
            _remove_group(Path(entry.path))
        path.rmdir()


def _remove_group(path: Path) -> None:
    with suppress(OSError):
        path.rmdir()
