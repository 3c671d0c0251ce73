"""An internet of our own: two networks that no cable leaves, one the host's, one all the world's."""

import ctypes
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000

HOST, NEIGHBOUR, PUBLIC, RESOLVER = "5.6.7.8", "5.6.7.1", "1.2.3.4", "9.9.9.9"
SITE = "3.4.5.6"
"""Public, but the operator says that no task may go there."""
FORBIDDEN = [
    "0.1.2.3", "10.1.2.3", "10.255.0.1", "100.64.1.1", "100.127.255.254", "100.100.100.200", "169.254.169.254",
    "169.254.1.1", "172.16.5.5", "172.31.255.1", "192.0.0.192", "192.0.2.9", "192.88.99.1", "192.168.7.7",
    "198.18.0.9", "198.19.255.1", "198.51.100.7", "203.0.113.7", "240.0.0.1", "168.63.129.16", SITE,
]  # fmt: skip
"""An address of each kind, and of the ends of some; each is there, and answers the host."""
PORT = 80


class Network:
    """A network namespace, held by a process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread in there, and the processes that it starts; sockets stay where they were made."""
        with open("/proc/thread-self/ns/net", "rb") as before:
            _enter(f"/proc/{self.pid}/ns/net")
            try:
                yield
            finally:
                assert _LIBC.setns(before.fileno(), _CLONE_NEWNET) == 0

    def run(self, *commands: str) -> None:
        """Run `commands` in there."""
        subprocess.run(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", "sh", "-ec", "\n".join(commands)], check=True
        )

    def has_program(self, name: str) -> bool:
        """Whether a program of that name has its sockets in there."""
        return bool(self.programs(name))

    def programs(self, name: str) -> list[int]:
        """Those of that name that have their sockets in there."""
        here = Path(f"/proc/{self.pid}/ns/net").stat().st_ino
        return [int(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if _is_in(pid, name, here)]


def _is_in(pid: str, name: str, net: int) -> bool:
    try:
        comm = Path("/proc", pid, "comm").read_text(encoding="utf-8").strip()
        return comm == name and Path("/proc", pid, "ns/net").stat().st_ino == net
    except OSError:
        return False


def _enter(path: str) -> None:
    with open(path, "rb") as there:
        assert _LIBC.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


@contextmanager
def _network() -> Iterator[Network]:
    command = ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; read -r line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield Network(process.pid)


class Internet:
    """The host's network, and witnesses on every address that a jail must not reach."""

    def __init__(self, host: Network, witnesses: dict[str, list[socket.socket]]) -> None:
        self.host = host
        self._witnesses = witnesses

    def assert_open_to_the_host(self) -> None:
        """Fail where a witness could not be reached even without a jail: then it would prove nothing."""
        for address in self._witnesses:
            with socket.create_connection((address, PORT), 5):
                pass
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (address, PORT))
        assert self.touched() == set(self._witnesses)

    def touched(self) -> set[str]:
        """The addresses that somebody has reached since this was asked."""
        # All, not the first: each empties its queue.
        found = {address: [_take_all(sock) for sock in socks] for address, socks in self._witnesses.items()}
        return {address for address, counts in found.items() if any(counts)}


def _take_all(sock: socket.socket) -> int:
    for count in range(10_000):
        try:
            if sock.type == socket.SOCK_DGRAM:
                sock.recv(1)
            else:
                sock.accept()[0].close()
        except BlockingIOError:
            return count
    raise AssertionError("there is no end")


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 4096


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request[1].sendto(self.request[0], self.client_address)


class _Gossip(socketserver.BaseRequestHandler):
    """First a private address answers, then itself. A server's thread stays in the network that it began in."""

    def handle(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("10.1.2.3", 0))
            other.sendto(b"x", self.client_address)
        self.request[1].sendto(b"x", self.client_address)


class _Names(socketserver.BaseRequestHandler):
    """Knows one answer to every question of names."""

    def handle(self) -> None:
        query = self.request[0]
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(PUBLIC)
        end = query.index(b"\0", 12) + 5
        self.request[1].sendto(
            query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + answer, self.client_address
        )


@contextmanager
def internet() -> Iterator[Internet]:
    """Both networks, with everybody in his place. Needs root."""
    with ExitStack() as stack:
        host, world = stack.enter_context(_network()), stack.enter_context(_network())
        _connect(host, world)
        witnesses = {}
        with world.entered():
            for server in _servers():
                stack.enter_context(_served(server))
            for address in FORBIDDEN:
                witnesses[address] = _listening(stack, address)
        with host.entered():
            witnesses[HOST] = _listening(stack, HOST)
            _listening(stack, "127.0.0.1")
        yield Internet(host, witnesses)


def _connect(host: Network, world: Network) -> None:
    host.run(
        f"ip link add eth0 type veth peer name eth0 netns {world.pid}",
        f"ip addr add {HOST}/24 dev eth0",
        "ip link set eth0 up",
    )
    mine = [f"ip addr add {address}/32 dev lo" for address in [PUBLIC, RESOLVER, *FORBIDDEN]]
    world.run(*mine, f"ip addr add {NEIGHBOUR}/24 dev eth0", "ip link set eth0 up")
    host.run(f"ip route add default via {NEIGHBOUR}")
    # Routes that the kernel would not take by default's.
    host.run(f"ip route add 0.1.2.3/32 via {NEIGHBOUR}", f"ip route add 240.0.0.1/32 via {NEIGHBOUR}")


def _servers() -> list[socketserver.BaseServer]:
    return [
        _Server((PUBLIC, PORT), _Page),
        socketserver.UDPServer((PUBLIC, 81), _Echo),
        socketserver.UDPServer((PUBLIC, 82), _Gossip),
        socketserver.UDPServer((RESOLVER, 53), _Names),
    ]


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listening(stack: ExitStack, address: str) -> list[socket.socket]:
    socks = []
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        sock = stack.enter_context(socket.socket(socket.AF_INET, kind))
        sock.setblocking(False)
        sock.bind((address, PORT))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        socks.append(sock)
    return socks
