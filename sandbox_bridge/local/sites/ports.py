"""The listening ports of sites: on which address, under which name, and who may connect.

On loopback everybody on this machine may, as with any server that is started there. A service for other machines
listens for sites where it listens itself, but accepts only the machines whose bridges are connected: a gateway
forwards to a site, and nobody else can reach it.

A port is not given out twice: whoever still has the address of a site that is gone must not find another's there.
"""

import socket
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sandbox_bridge.local.access import is_loopback

LOOPBACK = "127.0.0.1"
_BACKLOG = 64
_MAX_REMEMBERED = 10_000
"""Ports that were given out. There are 28,000 to choose from, and an address is of use for a quarter of an hour."""
_TRIES = 100


class SitePorts:
    """The ports that a service which listens on `host` gives to sites."""

    def __init__(self, host: str) -> None:
        self._is_local = is_loopback(host)
        self._host = LOOPBACK if self._is_local else host
        self._reached_as = self._host
        self._peers: Counter[str] = Counter()
        self._given: OrderedDict[int, None] = OrderedDict()

    @contextmanager
    def peer(self, address: str, reached_as: str) -> Iterator[None]:
        """Let in who comes from `address` for as long as the block runs; it reaches us as `reached_as`."""
        if not self._is_local:
            self._reached_as = reached_as
        address = _plain(address)
        self._peers[address] += 1
        try:
            yield
        finally:
            self._peers[address] -= 1
            if not self._peers[address]:
                del self._peers[address]

    def lets_in(self, address: str) -> bool:
        """Whether a connection from `address` is accepted."""
        return self._is_local or _plain(address) in self._peers

    def url_of(self, port: int) -> str:
        """The URL of the site at `port`."""
        name = f"[{self._reached_as}]" if ":" in self._reached_as else self._reached_as
        return f"http://{name}:{port}/"

    def open_door(self) -> socket.socket:
        """A socket that listens, on a port of its own. Raises OSError."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with ExitStack() as refused:
            for _ in range(_TRIES):
                door = socket.create_server((self._host, 0), family=family, backlog=_BACKLOG)
                if self._give(door.getsockname()[1]):
                    return door
                # It stays open meanwhile, so that its port is not offered again.
                refused.enter_context(door)
        raise OSError("no port is left that had no site yet")

    def _give(self, port: int) -> bool:
        if port in self._given:
            return False
        self._given[port] = None
        if len(self._given) > _MAX_REMEMBERED:
            self._given.popitem(last=False)
        return True


def _plain(address: str) -> str:
    """An IPv4 address as such, also where it came to an IPv6 socket; of an IPv6 one the scope is left out."""
    return address.removeprefix("::ffff:").partition("%")[0]
