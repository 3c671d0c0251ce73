"""Ways from a jail that may go to the internet to where it may not."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.escapes.attacks.attempts import answer

TIMEOUT_S = 0.5
MAX_THREADS = 64
DEVICE = b"tap0"
IP_OPTIONS, IP_PKTINFO, IP_TRANSPARENT, IP_FREEBIND, IP_UNICAST_IF = 4, 8, 19, 15, 50
UDP_SEGMENT, MSG_FASTOPEN, SO_MARK = 103, 0x20000000, 36
Way = Callable[[str, int], None]
PUBLIC = ("1.2.3.4", 80)


def fetch() -> str:
    """What a public web server answers."""
    with socket.create_connection(PUBLIC, 5) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return sock.makefile("rb").read().decode()


def look_up(name: str) -> str:
    """The address of `name`, by the C library's own way."""
    return socket.gethostbyname(name)


def echo() -> str:
    """What comes back of a large datagram."""
    with _socket(socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(b"?" * 5000, ("1.2.3.4", 81))
        return f"{len(sock.recv(9000))} bytes"


def knock(addresses: list[str], port: int) -> dict[str, str]:
    """Try every way to each of `addresses`; at the end show that the way to the public one is open all the time."""
    tries = [(way, address) for address in addresses for way in WAYS]
    with ThreadPoolExecutor(MAX_THREADS) as pool:
        answers = list(pool.map(lambda pair: answer(pair[0], pair[1], port), tries))
    named = {f"{address} {way.__name__}": said for (way, address), said in zip(tries, answers, strict=True)}
    return named | {"public": fetch()[-5:]}


def hear() -> list[str]:
    """Who answers a datagram to the public server, up to its own answer."""
    with _socket(socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(b"x", ("1.2.3.4", 82))
        heard: list[str] = []
        while not heard or heard[-1] != PUBLIC[0]:
            heard.append(sock.recvfrom(100)[1][0])
        return heard


def _socket(kind: int, family: int = socket.AF_INET, protocol: int = 0) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    sock.settimeout(TIMEOUT_S)
    if kind == socket.SOCK_DGRAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return sock


def stream(address: str, port: int) -> None:
    """As anybody would."""
    with _socket(socket.SOCK_STREAM) as sock:
        sock.connect((address, port))


def datagram(address: str, port: int) -> None:
    """As anybody would; the second tells of the first."""
    with _socket(socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        sock.send(b"x")
        sock.send(b"x")


def bound_stream(address: str, port: int) -> None:
    """Past the routes: bound to the interface."""
    with _socket(socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, DEVICE)
        sock.connect((address, port))


def bound_datagram(address: str, port: int) -> None:
    """Past the routes: bound to the interface."""
    with _socket(socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, DEVICE)
        sock.sendto(b"x", (address, port))


def told_interface(address: str, port: int) -> None:
    """Past the routes: each datagram names its interface and its source."""
    index = socket.if_nametoindex(DEVICE.decode())
    for source in ("0.0.0.0", "10.0.2.100", "127.0.0.1"):  # noqa: S104 - nothing is bound
        info = struct.pack("i4s4s", index, socket.inet_aton(source), b"\0" * 4)
        with _socket(socket.SOCK_DGRAM) as sock:
            sock.sendmsg([b"x"], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, (address, port))


def wished_interface(address: str, port: int) -> None:
    """Past the routes: by the wish for an interface, for one and for many."""
    index = socket.if_nametoindex(DEVICE.decode())
    with _socket(socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, IP_UNICAST_IF, struct.pack("!I", index))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", b"", b"", index))
        sock.sendto(b"x", (address, port))


def unrouted(address: str, port: int) -> None:
    """As if it were a neighbour."""
    with _socket(socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, DEVICE)
        sock.connect((address, port))


def source_routed_datagram(address: str, port: int) -> None:
    """By a public address, and on from there: loosely, and strictly."""
    for kind in (0x83, 0x89):
        with _socket(socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, _route(kind, PUBLIC[0], address))
            sock.sendto(b"x", (address, port))
            sock.sendto(b"x", (PUBLIC[0], port))


def source_routed_stream(address: str, port: int) -> None:
    """By the forbidden address to a public one, and the other way round."""
    for via, to in ((PUBLIC[0], address), (address, PUBLIC[0])):
        with _socket(socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, _route(0x83, via, to))
            answer(sock.connect, (to, port))


def _route(kind: int, *hops: str) -> bytes:
    listed = b"".join(map(socket.inet_aton, hops))
    return b"\1" + struct.pack("BBB", kind, 3 + len(listed), 4) + listed


def forged_source(address: str, port: int) -> None:
    """From an address that is not ours, so that the answer goes there, or the way is another."""
    for option in (IP_FREEBIND, IP_TRANSPARENT):
        with _socket(socket.SOCK_DGRAM) as sock:
            if answer(sock.setsockopt, socket.IPPROTO_IP, option, 1) == "done":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, DEVICE)
                answer(sock.bind, (address, port))
                answer(sock.sendto, b"x", ("1.2.3.4", port))
                answer(sock.sendto, b"x", (address, port))


def large(address: str, port: int) -> None:
    """In many fragments, and in many segments."""
    with _socket(socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        answer(sock.sendto, b"x" * 60_000, (address, port))
        answer(sock.setsockopt, socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: fragment
        answer(sock.sendto, b"x" * 65_507, (address, port))
        answer(sock.setsockopt, socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        sock.sendto(b"x" * 1000, (address, port))


def fast_open(address: str, port: int) -> None:
    """With data in the first packet."""
    with _socket(socket.SOCK_STREAM) as sock:
        sock.sendto(b"x", MSG_FASTOPEN, (address, port))


def marked(address: str, port: int) -> None:
    """With the mark that somebody's rule may look at."""
    with _socket(socket.SOCK_DGRAM) as sock:
        answer(sock.setsockopt, socket.SOL_SOCKET, SO_MARK, 1)
        answer(sock.setsockopt, socket.SOL_SOCKET, socket.SO_PRIORITY, 6)
        answer(sock.setsockopt, socket.IPPROTO_IP, socket.IP_TOS, 0xFC)
        sock.sendto(b"x", (address, port))


def mapped(address: str, port: int) -> None:
    """In the clothes of the other protocol."""
    for prefix in ("::ffff:", "64:ff9b::", "::"):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with _socket(kind, socket.AF_INET6) as sock:
                answer(sock.connect, (prefix + address, port))
                answer(sock.send, b"x")


def turned(address: str, port: int) -> None:
    """From a socket that was let out, and is connected anew."""
    with _socket(socket.SOCK_DGRAM) as sock:
        sock.connect(PUBLIC)
        sock.send(b"x")
        sock.connect((address, port))
        sock.send(b"x")


def other_protocols(address: str, port: int) -> None:
    """By what is neither TCP nor UDP."""
    for kind, protocol in (
        (socket.SOCK_DGRAM, 136),
        (socket.SOCK_STREAM, 132),
        (socket.SOCK_SEQPACKET, 132),
        (socket.SOCK_STREAM, 262),
        (6, 33),
        (socket.SOCK_DGRAM, 1),
        (socket.SOCK_RAW, 255),
    ):
        answer(_other, kind, protocol, address, port)


def _other(kind: int, protocol: int, address: str, port: int) -> None:
    with _socket(kind, protocol=protocol) as sock:
        sock.connect((address, port))
        sock.send(b"\x08\0\xf7\xff\0\0\0\0")


def joined(address: str, port: int) -> None:
    """As a member of a group, as far as it is one."""
    index = socket.if_nametoindex(DEVICE.decode())
    with _socket(socket.SOCK_DGRAM) as sock:
        member = struct.pack("4s4si", socket.inet_aton(address), b"\0" * 4, index)
        answer(sock.setsockopt, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 9)
        sock.sendto(b"x", (address, port))


WAYS: list[Way] = [
    *(stream, datagram, bound_stream, bound_datagram, told_interface, wished_interface, unrouted),
    *(source_routed_datagram, source_routed_stream, forged_source, large, fast_open, marked, mapped),
    *(turned, other_protocols, joined),
]


def settings() -> dict[str, str]:
    """Change the kernel's settings of the network."""
    paths = [path for path in Path("/proc/sys/net").rglob("*") if path.is_file()]
    return {str(path): answer(_rewrite, path) for path in paths if answer(path.read_text) == "done"}


def _rewrite(path: Path) -> None:
    path.write_text(path.read_text())


def crowd(count: int) -> int:
    """How many of `count` connections to the public server are there at once."""
    crowd = []
    for _ in range(count):
        sock = _socket(socket.SOCK_STREAM)
        sock.settimeout(2)
        if answer(sock.connect, PUBLIC) != "done":
            break
        crowd.append(sock)
    return len(crowd)
