"""What a jail must not reach: things of the host that stand as open as they can, and notice a touch."""

import ctypes
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_IPC_CREAT, _IPC_RMID = 0o1000, 0
_MAX_CLOCK_STEP_S = 0.5
_WATCHED = (
    "kernel/core_pattern",
    "kernel/hostname",
    "kernel/sysrq",
    "vm/overcommit_memory",
    "net/ipv4/ip_forward",
)


@dataclass(frozen=True, slots=True)
class Bait:
    """What there is to be reached. Everything in it is open to the jails' uid, but for the jail."""

    marker: str
    """A word that is in the process's command line, in the file, and in the service's environment."""
    file: str
    folder: str
    pid: int
    tcp: int
    tcp6: int
    udp: int
    path_socket: str
    abstract_socket: str
    shm_key: int
    posix_shm: str


class Host:
    """The bait, and what it noticed."""

    def __init__(self, bait: Bait, listeners: list[socket.socket]) -> None:
        self.bait = bait
        self._listeners = listeners
        self._before = self._state()
        self._clock_step = time.time() - time.monotonic()

    def assert_untouched(self) -> None:
        """Fail where anything was reached or changed."""
        assert self._state() == self._before
        assert abs(time.time() - time.monotonic() - self._clock_step) < _MAX_CLOCK_STEP_S
        for listener in self._listeners:
            assert not _was_reached(listener), f"somebody reached {listener}"

    def _state(self) -> dict[str, Any]:
        folder = Path(self.bait.folder)
        status = Path(f"/proc/{self.bait.pid}/status").read_text(encoding="ascii")
        state = dict(line.split(":\t", 1) for line in status.splitlines())
        return {
            "files": {path.name: path.lstat().st_mode for path in folder.iterdir()},
            "file": Path(self.bait.file).read_text(encoding="ascii"),
            "shared memory": Path("/dev/shm", self.bait.posix_shm).read_text(encoding="ascii"),
            "process": {
                key: state[key] for key in ("Name", "State", "TracerPid", "Uid", "SigBlk", "NoNewPrivs")
            },
            "nice": os.getpriority(os.PRIO_PROCESS, self.bait.pid),
            "scheduler": os.sched_getscheduler(self.bait.pid),
            "limits": Path(f"/proc/{self.bait.pid}/limits").read_text(encoding="ascii"),
            "oom": Path(f"/proc/{self.bait.pid}/oom_score_adj").read_text(encoding="ascii"),
            "mounts": Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
            "settings": [_setting(name) for name in _WATCHED],
            "swaps": Path("/proc/swaps").read_text(encoding="ascii"),
        }


def _setting(name: str) -> str:
    path = Path("/proc/sys", name)
    return path.read_text(encoding="utf-8") if os.access(path, os.R_OK) else ""


def _was_reached(listener: socket.socket) -> bool:
    """Whether a connection or a datagram has come."""
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(1)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@contextmanager
def host_with_bait(uid: int, folder: Path) -> Iterator[Host]:
    """The host, with bait that belongs to `uid` or is open to everybody, in the open `folder`."""
    marker = f"bait-{secrets.token_hex(8)}"
    folder.chmod(0o777)
    file = folder / "secret"
    file.write_text(marker, encoding="ascii")
    file.chmod(0o666)
    with ExitStack() as stack:
        process = stack.enter_context(_process(marker, uid))
        listeners = [stack.enter_context(listener) for listener in _listeners(folder, marker)]
        tcp, tcp6, udp, *_ = (listener.getsockname()[1] for listener in listeners)
        bait = Bait(
            marker=marker,
            file=str(file),
            folder=str(folder),
            pid=process.pid,
            tcp=tcp,
            tcp6=tcp6,
            udp=udp,
            path_socket=str(folder / "socket"),
            abstract_socket=marker,
            shm_key=stack.enter_context(_system_v_memory()),
            posix_shm=stack.enter_context(_posix_memory(marker)),
        )
        yield Host(bait, listeners)


@contextmanager
def _process(marker: str, uid: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for the end of its input, which nobody writes."""
    command = ["/bin/sh", "-c", "read -r line", marker]
    user = uid if os.geteuid() == 0 else None
    with subprocess.Popen(command, stdin=subprocess.PIPE, user=user, group=user, cwd="/") as process:
        _until_it_waits(process.pid)
        yield process


def _until_it_waits(pid: int) -> None:
    """Its state is compared later: wait until it is what it will stay."""
    deadline = time.monotonic() + 10
    while "State:\tS" not in (status := Path(f"/proc/{pid}/status").read_text(encoding="ascii")):
        assert time.monotonic() < deadline, status


def _listeners(folder: Path, marker: str) -> list[socket.socket]:
    found = [
        _bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        _bound(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
        _bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        _bound(socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")),
        _bound(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{marker}"),
        _bound(socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{marker}-datagrams"),
    ]
    (folder / "socket").chmod(0o777)
    return found


def _bound(family: int, kind: int, address: Any) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    sock.bind(address)
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


@contextmanager
def _system_v_memory() -> Iterator[int]:
    """The key of a System V segment that everybody may attach."""
    key = secrets.randbelow(1 << 30) + 1
    segment = _LIBC.shmget(key, 4096, _IPC_CREAT | 0o666)
    assert segment >= 0
    try:
        yield key
    finally:
        _LIBC.shmctl(segment, _IPC_RMID, None)


@contextmanager
def _posix_memory(marker: str) -> Iterator[str]:
    path = Path("/dev/shm", marker)
    path.write_text(marker, encoding="ascii")
    path.chmod(0o666)
    try:
        yield path.name
    finally:
        path.unlink()
