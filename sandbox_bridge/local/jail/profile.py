"""What a jail is made of: bubblewrap's command line, and the few files it needs. Pure, but for reading /.

The one profile there is. Everything a task can see is read-only `/usr`, a made-up `/etc`, and three fresh
disks of its own, in memory; nothing it can write to is mounted on or into anything of the host.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox_bridge.local.agent.frames import TMP, WORK
from sandbox_bridge.local.jail import egress
from sandbox_bridge.local.jail.cages.base import Cage
from sandbox_bridge.local.jail.egress import RESOLV_CONF, Means

PYTHON = "/usr/bin/python3"
"""The system's, which is there inside as outside."""
INSIDE_UID = 1000
NOBODY = 65534
"""The host's uid and gid of a jail when we are root: root without capabilities still owns root's files."""
_AUTHORITIES = "/etc/ssl/certs"
SHM_MB = 64
"""Shared memory: what Docker gives, too. Part of no limit yet, and so kept small."""

ETC_FILES = {
    "/etc/passwd": b"sandbox:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
    "/etc/group": b"sandbox:x:1000:\nnogroup:x:65534:\n",
    "/etc/hosts": b"127.0.0.1 localhost sandbox\n::1 localhost\n",
    "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """The parts of a jail that are the same for all sessions."""

    bwrap: str | None
    """bubblewrap's path, or None to run tasks without any jail."""
    python: str
    agent_program: bytes
    drop_to: int | None
    """The uid and gid to run as, or None to stay who we are."""
    process_group: int
    """Where every jail's bubblewrap belongs, to die with us."""
    count_processes: bool
    """Whether RLIMIT_NPROC holds processes: the kernel counts it per jail (Linux 5.14), and nothing better does."""
    open_files: int
    """What one process in a jail may have open at once."""
    make_cage: Callable[[], Cage] | None = None
    """Makes what holds a jail's memory and processes, and freezes them; None where nothing does."""
    give_notice: Callable[[], None] | None = None
    """Has the kernel ready to take a jail into its cage, in a thread, while the jail starts."""
    setpriv: str | None = None
    """The program that runs another one as somebody else, where there is one."""
    seccomp: bytes = b""
    """The filter of system calls, as the kernel takes it; empty for none."""
    network: Means | None = None
    """What gives a jail a network, where a task may have one."""

    def etc_files(self, *, network: bool) -> dict[str, bytes]:
        """The files of /etc, with what finds names for a jail with a network."""
        if not network or self.network is None:
            return ETC_FILES
        return ETC_FILES | egress.etc_files(self.network.resolvers)

    def arguments(self, fds: "JailFds", *, disk_mb: int) -> list[str]:
        """The command line that runs the agent in a new jail."""
        return [
            self.bwrap or "",
            *("--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"),
            *("--disable-userns", "--assert-userns-disabled"),
            *("--clearenv", "--cap-drop", "ALL", "--hostname", "sandbox"),
            *("--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID)),
            *_system_folders(),
            *("--proc", "/proc", "--dev", "/dev"),
            *_disk(min(disk_mb, SHM_MB), "/dev/shm"),  # noqa: S108 - inside the jail
            *("--remount-ro", "/dev"),
            *_disk(disk_mb, TMP),
            *_disk(disk_mb, WORK),
            *("--ro-bind-try", "/etc/alternatives", "/etc/alternatives"),
            *("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
            # The authorities that the host trusts; its own keys are not in there.
            *(("--ro-bind-try", _AUTHORITIES, _AUTHORITIES) if RESOLV_CONF in fds.etc else ()),
            *(word for path, fd in fds.etc.items() for word in ("--file", str(fd), path)),
            # The root is a disk without a size: nobody may write there.
            *("--remount-ro", "/", "--chdir", WORK),
            *("--json-status-fd", str(fds.status)),
            *(() if fds.seccomp is None else ("--seccomp", str(fds.seccomp))),
            *(self.python, "-I", "-S", f"/dev/fd/{fds.agent}"),
            *map(str, [self.open_files, *fds.pipes]),
        ]


@dataclass(frozen=True, slots=True)
class JailFds:
    """The file descriptors that a jail inherits."""

    pipes: tuple[int, ...]
    """The agent's own, in its order."""
    status: int
    agent: int
    seccomp: int | None
    etc: dict[str, int]

    def read_once(self) -> list[int]:
        """Those that nobody needs any more once the agent runs; the pipes are not ours to close."""
        read = [self.status, self.agent, *self.etc.values()]
        return read if self.seccomp is None else [*read, self.seccomp]


def memory_file(name: str, content: bytes) -> int:
    """A new file descriptor from which `content` can be read; it has no path. The caller closes it."""
    fd = os.memfd_create(name)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _disk(size_mb: int, path: str) -> list[str]:
    return ["--size", str(size_mb << 20), "--tmpfs", path]


def _system_folders() -> list[str]:
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib32", "lib64", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        elif path.is_dir():
            words += ["--ro-bind", f"/{name}", f"/{name}"]
    return words


def counts_processes(kernel_release: str) -> bool:
    """Whether a kernel named like `6.1.0-18-amd64` counts RLIMIT_NPROC per user namespace."""
    major, minor = (
        int("".join(filter(str.isdigit, part)) or 0) for part in f"{kernel_release}.0".split(".")[:2]
    )
    return (major, minor) >= (5, 14)
