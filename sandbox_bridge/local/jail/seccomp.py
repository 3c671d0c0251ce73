"""The filter of system calls that every process of a jail lives under, as the kernel's cBPF. Pure.

The namespaces hold the jail; the filter takes away those parts of the kernel that no task needs and that
most ways out of a namespace went through. A call that is newer than our table does not exist in there, so
that a new kernel's new calls are closed until somebody has looked at them.

Sources: seccomp(2), `linux/filter.h`, `linux/seccomp.h`, and the kernel's system call tables.
"""

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass

_LOAD = 0x20  # BPF_LD|BPF_W|BPF_ABS
_EQUAL, _GREATER, _ANY_BIT = 0x15, 0x25, 0x45  # BPF_JMP with BPF_JEQ, BPF_JGT, BPF_JSET, all |BPF_K
_RETURN = 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000

_NUMBER, _ARCH, _ARGS = 0, 4, 16
"""Offsets in `struct seccomp_data`; of an argument, the lower half comes first on both machines."""
_X32_BIT = 0x40000000
_NEWEST = 462
"""`mseal`, Linux 6.10. All machines count alike from 424 on."""

_NAMESPACES = 0x7E020000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; NEWTIME can't be asked of clone."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""What Docker allows: the plain ones and the question which it is, but no fixed addresses."""
_SOL_SOCKET, _SO_SNDBUF, _SO_RCVBUF = 1, 7, 8
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK, _NETLINK_ROUTE = 1, 2, 10, 16, 0

_REFUSED_EVERYWHERE = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "process_mrelease": 448,
}
_CLONE3 = 435


@dataclass(frozen=True, slots=True)
class Machine:
    """What differs between machines: the audit architecture, and the numbers of calls."""

    arch: int
    clone: int
    socket: int
    setsockopt: int
    ioctl: int
    personality: int
    refused: dict[str, int]
    hidden: dict[str, int]
    """Calls that take memory which belongs to no process and no disk, so that only the kernel can count it."""


MACHINES = {
    "x86_64": Machine(
        arch=0xC000003E,
        clone=56,
        socket=41,
        setsockopt=54,
        ioctl=16,
        personality=135,
        refused={
            "ptrace": 101, "syslog": 103, "uselib": 134, "sysfs": 139, "vhangup": 153, "modify_ldt": 154,
            "pivot_root": 155, "_sysctl": 156, "adjtimex": 159, "chroot": 161, "acct": 163,
            "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
            "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "create_module": 174,
            "init_module": 175, "delete_module": 176, "get_kernel_syms": 177, "query_module": 178,
            "quotactl": 179, "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227,
            "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256,
            "unshare": 272, "vmsplice": 278, "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300,
            "fanotify_mark": 301, "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305,
            "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
            "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
        },
        hidden={"shmget": 29, "semget": 64, "msgget": 68, "memfd_create": 319},
    ),
    "aarch64": Machine(
        arch=0xC00000B7,
        clone=220,
        socket=198,
        setsockopt=208,
        ioctl=29,
        personality=92,
        refused={
            "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42,
            "chroot": 51, "vhangup": 58, "quotactl": 60, "vmsplice": 75, "acct": 89, "unshare": 97,
            "kexec_load": 104, "init_module": 105, "delete_module": 106, "clock_settime": 112, "syslog": 116,
            "ptrace": 117, "reboot": 142, "sethostname": 161, "setdomainname": 162, "settimeofday": 170,
            "adjtimex": 171, "add_key": 217, "request_key": 218, "keyctl": 219, "swapon": 224,
            "swapoff": 225, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241,
            "fanotify_init": 262, "fanotify_mark": 263, "name_to_handle_at": 264, "open_by_handle_at": 265,
            "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
            "kcmp": 272, "finit_module": 273, "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294,
        },
        hidden={"msgget": 186, "semget": 190, "shmget": 194, "memfd_create": 279},
    ),
}  # fmt: skip

Step = tuple[int, int, int, int]
"""An instruction: code, steps to skip where a comparison holds, where it doesn't, and its constant."""


def program(machine: str, *, is_watched: bool = False) -> bytes:
    """The filter for a `machine` as `uname -m` names it; raises `KeyError` for one that we have no table of.

    `is_watched`: memory is watched from outside, so what can't be seen from there is not to be had.
    """
    numbers = MACHINES[machine]
    steps = [
        *_unless(_ARCH, numbers.arch, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        # The x32 calls of an x86_64 kernel: the same calls under other numbers.
        (_ANY_BIT, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL),
        (_GREATER, 0, 1, _NEWEST),
        _fails(errno.ENOSYS),
        # Its flags are in memory, where a filter can't look: whoever is told so falls back to clone.
        *_if_number(_CLONE3, [_fails(errno.ENOSYS)]),
    ]
    for number in sorted({*numbers.refused.values(), *_REFUSED_EVERYWHERE.values()}):
        steps += _if_number(number, [_fails(errno.EPERM)])
    for number in sorted(numbers.hidden.values()) if is_watched else []:
        steps += _if_number(number, [_fails(errno.ENOSYS)])
    steps += _if_number(numbers.clone, _by_clone_flags())
    steps += _if_number(numbers.socket, _by_socket_family())
    steps += _if_number(numbers.ioctl, _by_argument(1, {_TIOCSTI, _TIOCLINUX}, errno.EPERM))
    steps += _if_number(numbers.personality, _only_argument(0, _PERSONALITIES, errno.EPERM))
    steps += _if_number(numbers.setsockopt, _by_option()) if is_watched else []
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _fails(number: int) -> Step:
    return (_RETURN, 0, 0, _ERRNO | number)


def _load_argument(index: int) -> Step:
    """The lower half of an argument: the kernel itself looks at no more of those that we judge."""
    return (_LOAD, 0, 0, _ARGS + 8 * index)


def _unless(offset: int, value: int, verdict: int) -> list[Step]:
    return [(_LOAD, 0, 0, offset), (_EQUAL, 1, 0, value), (_RETURN, 0, 0, verdict)]


def _if_number(number: int, then: list[Step]) -> list[Step]:
    """`then`, which ends in a verdict, for one call; the number stays loaded for the others."""
    return [(_EQUAL, 0, len(then), number), *then]


def _by_clone_flags() -> list[Step]:
    return [
        _load_argument(0),
        (_ANY_BIT, 0, 1, _NAMESPACES),
        _fails(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _by_socket_family() -> list[Step]:
    """What a jail has: its loopback, sockets within it, and netlink for the question which interfaces there are."""
    return [
        _load_argument(0),
        *(step for family in (_AF_UNIX, _AF_INET, _AF_INET6) for step in _allowed(family)),
        (_EQUAL, 1, 0, _AF_NETLINK),
        _fails(errno.EAFNOSUPPORT),
        _load_argument(2),
        *_allowed(_NETLINK_ROUTE),
        _fails(errno.EPROTONOSUPPORT),
    ]


def _by_option() -> list[Step]:
    """A size for a socket's buffer is taken, and nothing comes of it: so each holds the kernel's default at most."""
    return [
        _load_argument(1),
        (_EQUAL, 1, 0, _SOL_SOCKET),
        (_RETURN, 0, 0, _ALLOW),
        *_by_argument(2, {_SO_SNDBUF, _SO_RCVBUF}, 0),
    ]


def _allowed(value: int) -> list[Step]:
    return [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]


def _by_argument(index: int, refused: Iterable[int], number: int) -> list[Step]:
    """All values but the refused ones."""
    tests = (step for value in sorted(refused) for step in ((_EQUAL, 0, 1, value), _fails(number)))
    return [_load_argument(index), *tests, (_RETURN, 0, 0, _ALLOW)]


def _only_argument(index: int, allowed: Iterable[int], number: int) -> list[Step]:
    """No values but the allowed ones."""
    tests = (step for value in allowed for step in _allowed(value))
    return [_load_argument(index), *tests, _fails(number)]
