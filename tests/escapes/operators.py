"""Who may run a sandbox: root, a user who was given a part of the cgroups, and a user with nothing."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import sandbox_bridge

CGROUPS = Path("/sys/fs/cgroup")
DELEGATED_UID, PLAIN_UID, NOBODY = 60890, 60891, 65534
"""Numbers that no account of a common system has; nothing needs them to have a name."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who starts the service."""

    name: str
    guest_uid: int
    """As whom the host sees what runs in his jails."""
    prefix: tuple[str, ...] = ()
    """The command line that runs another as him."""


def names() -> list[str]:
    """All whom we can be: as root everybody, else only ourselves."""
    return ["root", "delegated", "plain"] if os.geteuid() == 0 else ["ourselves"]


@contextmanager
def operator(name: str) -> Iterator[Operator]:
    """The operator of that name, with what he needs until the block is left."""
    if name == "root":
        yield Operator(name, NOBODY)
    elif name == "plain":
        yield Operator(name, PLAIN_UID, _as_user(PLAIN_UID, []))
    elif name == "delegated":
        with _delegated_cgroups(DELEGATED_UID) as folders:
            yield Operator(name, DELEGATED_UID, _as_user(DELEGATED_UID, folders))
    else:
        yield Operator(name, os.geteuid())


def _as_user(uid: int, cgroups: list[Path]) -> tuple[str, ...]:
    """Runs a command as `uid`, in `cgroups`, with the way to this Python and this code open to him.

    Both may lie in somebody's home. A layer over each closed folder on the way, seen by him alone, opens it.
    """
    script = [f"echo $$ > {folder}/cgroup.procs" for folder in cgroups]
    for number, folder in enumerate(_closed([Path(sys.base_prefix), Path(sys.prefix), _code()])):
        layer = f"/mnt/{number}"
        script += [
            f"mkdir -p {layer}/upper {layer}/work",
            f"mount -t overlay overlay -o lowerdir={folder},upperdir={layer}/upper,workdir={layer}/work {folder}",
            f"chmod o+x {folder}",
        ]
    privileges = f"--reuid={uid} --regid={uid} --clear-groups --inh-caps=-all"
    script.append(f'exec setpriv {privileges} "$@"')
    private = ("unshare", "--mount", "--propagation=private", "sh", "-ec")
    return (*private, "mount -t tmpfs tmpfs /mnt; " + "; ".join(script), "sh")


def _code() -> Path:
    return Path(sandbox_bridge.__file__).parent


def _closed(paths: Iterable[Path]) -> list[Path]:
    """The folders above `paths` that others may not pass through, the outermost first."""
    above = {folder for path in paths for folder in [path, *path.parents]}
    return sorted(folder for folder in above if not folder.stat().st_mode & 1)


@contextmanager
def _delegated_cgroups(uid: int) -> Iterator[list[Path]]:
    """A group of his own for `uid` in each hierarchy that can be written, as systemd's Delegate= gives it."""
    folders: list[Path] = []
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        mount = _mount_of(controllers)
        if mount is None or controllers.startswith("cpuset"):
            continue  # a new cpuset has no processor, and takes nobody in
        folder = mount / path.lstrip("/") / f"escapes-{os.getpid()}"
        with suppress(OSError):
            folder.mkdir()
            folders.append(folder)
    try:
        for folder in folders:
            _give(folder, uid)
        yield folders
    finally:
        for folder in folders:
            _remove(folder)


def _mount_of(controllers: str) -> Path | None:
    """Where the hierarchy of `controllers` is mounted; those of version 2 have no name."""
    if not controllers:
        found = [CGROUPS, CGROUPS / "unified"]
        return next((path for path in found if (path / "cgroup.controllers").exists()), None)
    path = CGROUPS / controllers.removeprefix("name=")
    return path if (path / "cgroup.procs").exists() else None


def _give(folder: Path, uid: int) -> None:
    os.chown(folder, uid, uid)
    for name in ("cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"):
        if (folder / name).exists():
            os.chown(folder / name, uid, uid)


def _remove(folder: Path) -> None:
    """Take the group and those below it away; who is left in them goes up."""
    for below in sorted(folder.glob("**/"), reverse=True):
        with suppress(OSError):
            below.rmdir()
