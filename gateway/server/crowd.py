"""How many connections each address has, whoever it is and whether it has said anything yet.

An address is the one that a connection comes from, and of IPv6 its network, for one home has 2^64 of them. Behind
`trusted_proxies` it is the last in `X-Forwarded-For` that is none of them; from anybody else that header is only words.
Who comes from the very address that he reaches is on this machine, or behind a proxy on it that nobody has named: he is
not counted.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from gateway.settings import Settings

SPARE: Final = 1000
"""Connections that may be open beside `max_connections`: requests by HTTP, and handshakes."""
WAITING: Final = 64
"""Connections of an address beyond its limit that are told so; the next are cut off unheard."""

Addresses = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class Crowd:
    """Who is connected to this instance, by address."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.max_connections_per_address
        self._most = settings.max_connections + SPARE
        self._proxies: Addresses = tuple(map(ipaddress.ip_network, settings.trusted_proxies))
        self._all = 0
        self._here: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Crowd {self._all} connections from {len(self._here)} addresses>"

    def address_of(self, transport: Any) -> str | None:
        """Whose a connection is; None where it is not counted."""
        peer, ours = (_host(transport.get_extra_info(name)) for name in ("peername", "sockname"))
        return None if peer is None or peer == ours or self._is_proxy(peer) else _counted_as(peer)

    def came(self, address: str | None) -> bool:
        """A connection has come; whether it may stay. In any case it has to go by `went`."""
        self._all += 1
        if address is not None:
            self._here[address] += 1
        is_many = self._limit and address is not None and self._here[address] > self._limit + WAITING
        return self._all <= self._most and not is_many

    def went(self, address: str | None) -> None:
        """A connection has gone."""
        self._all -= 1
        self._leave(address)

    @contextmanager
    def asking(self, transport: Any, forwarded: str) -> Iterator[str | None]:
        """A request is there, whose `X-Forwarded-For` is `forwarded`; the address that has too many, where it has."""
        address = self.address_of(transport)
        behind = self._behind(transport, forwarded) if address is None else None
        if behind is not None:
            self._here[behind] += 1
        asked = address or behind
        try:
            is_many = self._limit and asked is not None and self._here[asked] > self._limit
            yield asked if is_many else None
        finally:
            self._leave(behind)

    def _leave(self, address: str | None) -> None:
        if address is not None:
            self._here[address] -= 1
            if not self._here[address]:
                del self._here[address]

    def _behind(self, transport: Any, forwarded: str) -> str | None:
        """Whom a trusted proxy speaks for."""
        peer = _host(transport.get_extra_info("peername"))
        if peer is None or not self._is_proxy(peer):
            return None
        named = [part.strip() for part in forwarded.split(",") if part.strip()]
        others = [name for name in reversed(named) if not self._is_proxy(name)]
        return _counted_as(others[0]) if others else None

    def _is_proxy(self, name: str) -> bool:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


def _host(address: Any) -> str | None:
    return str(address[0]) if isinstance(address, tuple) else None


def _counted_as(name: str) -> str:
    """The network of an IPv6 address; anything else is what it is, in a length that is bounded."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name[:100]
    if isinstance(address, ipaddress.IPv4Address):
        return name
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((int(address), 64), strict=False))
