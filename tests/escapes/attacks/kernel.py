"""What an unprivileged process may ask of the kernel, and had better not in a jail. x86-64's numbers."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import resource
import struct
import termios
import time
from pathlib import Path

from tests.escapes.attacks.attempts import DONE, LIBC, answer, call, in_child, syscall

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE = {
    "time": 0x80,
    "mount": 0x20000,
    "cgroup": 0x2000000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
SIGCHLD = 17
AT_FDCWD = -100
BUFFER = ctypes.create_string_buffer(4096)


def mounts() -> dict[str, str]:
    """Mount, unmount and move, by the old calls and the new ones."""
    return {
        "tmpfs": call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "proc": call("mount", b"none", b"/tmp", b"proc", 0, None),
        "sysfs": call("mount", b"none", b"/tmp", b"sysfs", 0, None),
        "cgroup": call("mount", b"none", b"/tmp", b"cgroup2", 0, None),
        "overlay": call("mount", b"o", b"/tmp", b"overlay", 0, b"lowerdir=/usr,upperdir=/work,workdir=/tmp"),
        "bind": call("mount", b"/usr", b"/work", None, MS_BIND | MS_REC, None),
        "remount": call("mount", None, b"/usr", None, MS_REMOUNT | MS_BIND, None),
        "remount root": call("mount", None, b"/", None, MS_REMOUNT | MS_BIND, None),
        "private": call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None),
        "unmount": call("umount2", b"/proc", 2),
        "unmount shm": call("umount2", b"/dev/shm", 2),
        "pivot_root": syscall(155, b"/work", b"/work"),
        "chroot": call("chroot", b"/work"),
        "open_tree": syscall(428, AT_FDCWD, b"/usr", 1),
        "move_mount": syscall(429, AT_FDCWD, b"/usr", AT_FDCWD, b"/work", 0),
        "fsopen": syscall(430, b"tmpfs", 0),
        "fspick": syscall(433, AT_FDCWD, b"/usr", 0),
        "mount_setattr": syscall(442, AT_FDCWD, b"/usr", 0, struct.pack("QQQQ", 0, 1, 0, 0), 32),
    }


def nested_namespaces() -> dict[str, int]:
    """Make a namespace of each kind: by unshare, clone and clone3. 0 is success."""
    exits = {}
    for name, flag in CLONE.items():
        exits[f"unshare {name}"] = in_child(lambda flag=flag: _refused(LIBC.unshare(flag)))  # type: ignore[misc]
        if flag > 0xFF:  # below that, the old call takes it for a signal
            exits[f"clone {name}"] = _exit_of(56, flag | SIGCHLD, 0, 0, 0, 0)
        arguments = struct.pack("11Q", flag, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0)
        exits[f"clone3 {name}"] = _exit_of(435, arguments, len(arguments))
    return exits


def _refused(result: int) -> None:
    if result:
        raise OSError


def _exit_of(number: int, *arguments: object) -> int:
    """0 where the call has made a child, which ends at once."""
    pid = LIBC.syscall(ctypes.c_long(number), *arguments)
    if pid == 0:
        os._exit(0)
    if pid < 0:
        return 1
    os.waitpid(pid, 0)
    return 0


def other_processes(pid: int) -> dict[str, str]:
    """Reach for a process by the number that it has on the host."""
    local, remote = struct.pack("QQ", ctypes.addressof(BUFFER), 8), struct.pack("QQ", 0x400000, 8)
    return {
        "kill": answer(os.kill, pid, 9),
        "stop": answer(os.kill, pid, 19),
        "pidfd": answer(os.pidfd_open, pid),
        "attach": call("ptrace", 16, pid, 0, 0),
        "seize": call("ptrace", 0x4206, pid, 0, 0),
        "read": syscall(310, pid, local, 1, remote, 1, 0),
        "write": syscall(311, pid, local, 1, remote, 1, 0),
        "compare": syscall(312, os.getpid(), pid, 0, 0, 0),
        "limits": answer(resource.prlimit, pid, resource.RLIMIT_NOFILE, (1, 1)),
        "nice": answer(os.setpriority, os.PRIO_PROCESS, pid, 19),
        "affinity": answer(os.sched_setaffinity, pid, {0}),
        "scheduler": answer(os.sched_setscheduler, pid, os.SCHED_IDLE, os.sched_param(0)),
        "pages": syscall(279, pid, 0, 0, 0, 0, 0),
        "robust list": syscall(274, pid, BUFFER, BUFFER),
        "memory": answer(os.open, f"/proc/{pid}/mem", os.O_RDWR),
    }


def privileges() -> dict[str, str]:
    """Become somebody else, or get a capability."""
    header, wanted = (
        struct.pack("Ii", 0x20080522, 0),
        struct.pack("IIIIII", *[0xFFFFFFFF] * 2, 0, *[0xFFFFFFFF] * 2, 0),
    )
    return {
        "uid": answer(os.setuid, 0),
        "gid": answer(os.setgid, 0),
        "all uids": answer(os.setresuid, 0, 0, 0),
        "another uid": answer(os.setresuid, 65534, 65534, 65534),
        "groups": answer(os.setgroups, [0]),
        "capabilities": call("capset", header, wanted),
        "ambient": call("prctl", 47, 2, 21, 0, 0),
        "new privileges": call("prctl", 38, 0, 0, 0, 0),
        "securebits": call("prctl", 28, 0, 0, 0, 0),
        "uid map": answer(_write, "/proc/self/uid_map", b"0 0 4294967295\n"),
        "gid map": answer(_write, "/proc/self/gid_map", b"0 0 4294967295\n"),
        "setgroups": answer(_write, "/proc/self/setgroups", b"allow"),
        "file capability": answer(_file_capability),
        "setuid file": answer(os.chown, "/work/order.json", 0, 0),
    }


def _file_capability() -> None:
    os.setxattr("/work/order.json", "security.capability", struct.pack("<IIIII", 0x2000001, 1 << 21, 0, 0, 0))


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def setuid_programs() -> dict[str, list[str]]:
    """Who we are inside each setuid and setgid program there is, and each that we make ourselves."""
    found = []
    for folder, _, names in os.walk("/usr"):
        paths = (f"{folder}/{name}" for name in names)
        found += [path for path in paths if os.path.isfile(path) and os.stat(path).st_mode & 0o6000]
    own = Path("/work/id")
    own.write_bytes(Path("/usr/bin/id").read_bytes())
    own.chmod(0o6755)
    return {path: _ids_in(path) for path in [*found, str(own)]}


def _ids_in(path: str) -> list[str]:
    """The effective uid and gid of `path` from when it is run; it is killed at once."""
    read_end, write_end = os.pipe()  # the kernel closes the child's ends when the program has begun
    pid = os.fork()
    if pid == 0:
        quiet = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(quiet, fd)
        try:
            os.execv(path, [path])
        finally:
            os._exit(127)
    os.close(write_end)
    os.read(read_end, 1)
    os.close(read_end)
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return _effective(status)


def _effective(status: str) -> list[str]:
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return [fields[key].split("\t")[1] for key in ("Uid", "Gid") if key in fields]


def machine() -> dict[str, str]:
    """What changes the whole machine. The arguments are such that little happens where it is allowed."""
    now = struct.pack("qq", int(time.time()), 0)
    return {
        "reboot": syscall(169, 0, 0, 0, None),
        "clock": call("clock_settime", 0, now),
        "time of day": call("settimeofday", now, None),
        "adjust": call("adjtimex", struct.pack("I4xq", 1, 0) + b"\0" * 256),
        "host name": call("sethostname", b"x", 65536),
        "domain name": call("setdomainname", b"x", 65536),
        "load module": syscall(175, BUFFER, 0, b""),
        "load module file": syscall(313, -1, b"", 0),
        "unload module": syscall(176, b"no-such-module", 0),
        "kexec": syscall(246, 0, 0, None, 0xFF00FFFF),
        "swap on": call("swapon", b"/work/none", 0),
        "swap off": call("swapoff", b"/work/none"),
        "accounting": call("acct", b"/work/none"),
        "ports": syscall(173, 0x80, 1, 1),
        "port level": syscall(172, 3),
        "log": syscall(103, 3, BUFFER, 4096),
        "clear log": syscall(103, 5, None, 0),
        "hang up": syscall(153),
    }


def dangerous_calls() -> dict[str, str]:
    """Calls with a history, none of which a task needs."""
    return {
        "add_key": syscall(248, b"user", b"escape", b"x", 1, -3),
        "request_key": syscall(249, b"user", b"escape", None, -3),
        "keyctl": syscall(250, 0, -3, 1),
        "bpf": syscall(321, 0, BUFFER, 72),
        "perf_event_open": syscall(298, BUFFER, 0, -1, -1, 0),
        "userfaultfd": syscall(323, 1),
        "io_uring_setup": syscall(425, 1, ctypes.create_string_buffer(120)),
        "fanotify": syscall(300, 0, 0),
        "open_by_handle": syscall(304, AT_FDCWD, struct.pack("II8s", 8, 1, b"\2"), 0),
        "kcmp": syscall(312, 1, os.getpid(), 0, 0, 0),
        "pidfd_getfd": syscall(438, 0, 0, 0),
        "ptrace": in_child_ptrace(),
        "secret memory": syscall(447, 0),
        "unshare files": syscall(272, 0x400),
        "personality": call("personality", 0x0040000),
        "a call not yet made": syscall(500),
    }


def in_child_ptrace() -> str:
    """Have our parent trace us: in a child, since it can't be undone."""
    return DONE if in_child(lambda: _refused(LIBC.ptrace(0, 0, 0, 0))) == 0 else "refused"


def terminal() -> dict[str, str]:
    """Type into the terminal of whoever started all this."""
    answers = {
        "tty": answer(os.open, "/dev/tty", os.O_RDWR),
        "console": answer(os.open, "/dev/console", os.O_RDWR),
    }
    for fd in range(3):
        answers[f"type {fd}"] = answer(fcntl.ioctl, fd, termios.TIOCSTI, b"x")
        answers[f"paste {fd}"] = answer(fcntl.ioctl, fd, 0x541C, b"\3")
        answers[f"take {fd}"] = answer(fcntl.ioctl, fd, termios.TIOCSCTTY, 1)
    return answers


def own_terminal() -> dict[str, str]:
    """Type into a terminal of our own."""
    master, slave = os.openpty()
    try:
        return {
            "type": answer(fcntl.ioctl, slave, termios.TIOCSTI, b"x"),
            "type, with high bits": call("ioctl", slave, ctypes.c_ulong(0x500000000 | termios.TIOCSTI), b"x"),
            "paste": answer(fcntl.ioctl, slave, 0x541C, array.array("b", [2])),
        }
    finally:
        os.close(master)
        os.close(slave)


def priorities() -> dict[str, str]:
    """Run before everybody else."""
    return {
        "nice": answer(os.nice, -5),
        "fifo": answer(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)),
        "round robin": answer(os.sched_setscheduler, 0, os.SCHED_RR, os.sched_param(1)),
        "deadline": syscall(314, 0, struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, *[10**7] * 3), 0),
        "disk": syscall(251, 1, 0, 1 << 13),
        "survive": answer(_write, "/proc/self/oom_score_adj", b"-1"),
        "processes": answer(resource.setrlimit, resource.RLIMIT_NPROC, (1 << 20, 1 << 20)),
        "core files": answer(resource.setrlimit, resource.RLIMIT_CORE, (1 << 20, 1 << 20)),
    }


def calls_of_other_machines() -> dict[str, int]:
    """Call by the numbers of x32 and of 32 bits: the exit code of a child that does so, 0 where that works."""
    return {"x32": in_child(lambda: _refused(LIBC.syscall(ctypes.c_long(0x40000000 + 39)) < 0))}
