"""Ways out by sockets."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Any

from tests.escapes.attacks.attempts import DONE, answer, call

TIMEOUT_S = 2
SIOCSIFFLAGS, SIOCSIFADDR, TUNSETIFF = 0x8914, 0x8916, 0x400454CA
RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 20, 24
NLM_F_REQUEST_ACK_CREATE = 0x405


def stream(family: int, address: Any) -> str:
    """Connect."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT_S)
        return answer(sock.connect, tuple(address) if isinstance(address, list) else address)


def datagram(family: int, address: Any) -> str:
    """Send a datagram."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        return answer(sock.sendto, b"here", tuple(address) if isinstance(address, list) else address)


def to_any_interface(port: int) -> dict[str, str]:
    """Connect to `port` from a socket bound to each interface there is."""
    answers = {}
    for _, name in socket.if_nameindex():
        with socket.socket() as sock:
            sock.settimeout(TIMEOUT_S)
            bound = answer(sock.setsockopt, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
            answers[name] = answer(sock.connect, ("127.0.0.1", port)) if bound == DONE else bound
    return answers


def sockets(kinds: dict[str, list[int]]) -> dict[str, str]:
    """Make a socket of each family, type and protocol, and touch nothing with it."""
    return {name: answer(_socket, *kind) for name, kind in kinds.items()}


def _socket(family: int, kind: int, protocol: int) -> None:
    socket.socket(family, kind, protocol).close()


def interfaces() -> dict[str, str]:
    """Change the loopback interface, and make another."""
    address = struct.pack("16sHH4s8x", b"lo", socket.AF_INET, 0, socket.inet_aton("192.0.2.7"))
    flags = struct.pack("16sH14x", b"lo", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return {
            "address": answer(fcntl.ioctl, sock, SIOCSIFADDR, address),
            "down": answer(fcntl.ioctl, sock, SIOCSIFFLAGS, flags),
            "link": netlink(RTM_NEWLINK, struct.pack("BxHiII", 0, 0, 0, 0, 0) + _attribute(3, b"dummy9\0")),
            "address by netlink": netlink(
                RTM_NEWADDR, struct.pack("BBBBi", 2, 24, 0, 0, 1) + _attribute(2, b"\xc0\0\x02\7")
            ),
            "route": netlink(
                RTM_NEWROUTE, struct.pack("8BI", 2, 0, 0, 0, 254, 4, 0, 1, 0) + _attribute(4, b"\1\0\0\0")
            ),
            "tunnel": answer(os.open, "/dev/net/tun", os.O_RDWR),
        }


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def netlink(kind: int, body: bytes) -> str:
    """The kernel's answer to a request on the route socket."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            sock.settimeout(TIMEOUT_S)
            sock.send(struct.pack("IHHII", 16 + len(body), kind, NLM_F_REQUEST_ACK_CREATE, 1, 0) + body)
            reply = sock.recv(4096)
    except OSError as error:
        return str(error.errno)
    number = -struct.unpack_from("i", reply, 16)[0]
    return os.strerror(number) if number else DONE


def found_sockets() -> list[str]:
    """Each path or name of a socket that can be seen, but for our own."""
    seen = [line.split()[-1] for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()[1:]]
    named = [name for name in seen if name.startswith(("/", "@"))]
    for folder, _, names in os.walk("/"):
        if not folder.startswith("/proc"):
            named += [path for name in names if Path(path := f"{folder}/{name}").is_socket()]
    return named


def namespaces() -> dict[str, str]:
    """Enter each namespace of each process that can be seen."""
    answers = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("net", "mnt", "pid", "user", "ipc", "uts", "cgroup"):
            answers[f"{pid}/{name}"] = _enter(f"/proc/{pid}/ns/{name}")
    return answers


def _enter(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        return str(error.strerror)
    try:
        return call("setns", fd, 0)
    finally:
        os.close(fd)
