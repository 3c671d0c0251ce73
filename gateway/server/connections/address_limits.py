"""Limits per client address: its open connections, its handshakes a second, its HTTP requests a second.

An address is the one that a connection comes from, and of IPv6 its network, for one home has 2^64 of them. Behind
`trusted_proxies` it is the last in `X-Forwarded-For` that is none of them; from anybody else that header is only words.
A connection from the very address that it reaches is not counted: its client is on this machine, or behind a proxy on
it that nobody has named.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from gateway.sessions.pace import Pace
from gateway.sessions.quotas import ADDRESS_SESSIONS
from gateway.settings import Settings
from gateway.token_bucket import Buckets, TokenBucket

SPARE: Final = 1000
"""Connections that may be open beside `max_connections`: requests by HTTP, and handshakes."""
HEAD_BYTES: Final = 1 << 10
"""A request counts as one more for each so many of its head: lists of a few bytes an item are looked through there, by
us and by aiohttp, 16 KiB in 4 ms."""
WAITING: Final = 64
"""Connections of an address beyond its limit that are told so; the next are cut off unheard."""

MANY_AT_ONCE: Final = 1000
"""Handshakes of an address in one go, where it may have as many connections as it likes."""

Addresses = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class AddressLimits:
    """The connections to this instance, by address."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.max_connections_per_address
        self._most = settings.max_connections + SPARE
        self._proxies: Addresses = tuple(map(ipaddress.ip_network, settings.trusted_proxies))
        self._per_s = settings.handshakes_per_s
        self._all = 0
        self._here: Counter[str] = Counter()
        self._rates = Buckets[TokenBucket]()
        self._requests = ADDRESS_SESSIONS * settings.requests_per_s, ADDRESS_SESSIONS * settings.request_burst
        self._paces = Buckets[Pace]()

    def __repr__(self) -> str:
        return f"<AddressLimits {self._all} connections from {len(self._here)} addresses>"

    def open(self, transport: Any) -> "Slot":
        """A slot for a new connection, which must end with `Slot.close`, also where it has no room."""
        self._all += 1
        get = transport.get_extra_info
        return Slot(self, _host(get("peername")), _host(get("sockname")))

    def counted(self, peer: str | None, ours: str | None) -> str | None:
        """As which address a connection counts from `peer` to `ours`; None where it does not."""
        return None if peer is None or peer == ours or self.is_proxy(peer) else _counted_as(peer)

    def behind(self, peer: str | None, forwarded: str) -> str | None:
        """Whom a trusted proxy speaks for."""
        if peer is None or not self.is_proxy(peer):
            return None
        named = [part.strip() for part in forwarded.split(",") if part.strip()]
        others = [name for name in reversed(named) if not self.is_proxy(name)]
        return _counted_as(others[0]) if others else None

    def enter(self, address: str | None) -> None:
        """One more of that address."""
        if address is not None:
            self._here[address] += 1

    def leave(self, address: str | None) -> None:
        """One less."""
        if address is not None:
            self._here[address] -= 1
            if not self._here[address]:
                del self._here[address]

    def closed(self) -> None:
        """A connection has closed."""
        self._all -= 1

    def has_room(self, address: str | None) -> bool:
        """Whether one more connection may stay that has come from there."""
        is_unheard = self.has_many(address, spare=WAITING) or self._insists(address)
        return self._all <= self._most and not is_unheard

    def has_many(self, address: str | None, *, spare: int = 0) -> bool:
        """Whether an address has more than it may."""
        return bool(self._limit) and address is not None and self._here[address] > self._limit + spare

    def shakes_hands(self, address: str | None) -> bool:
        """A socket is asked for from there; whether that is not too often."""
        return not self._per_s or address is None or self._rates.of(address, self._rate).has_one()

    def admit(self, address: str | None, head_bytes: int) -> bool:
        """A socket is asked for from there, and may be had at once: not refused, nor waited for. Else this counts for
        nothing."""
        if address is None:
            return True
        if self.has_many(address) or ((pace := self.pace(address)) is not None and not pace.took_one(_now())):
            return False
        if pace is not None:
            pace.pay(head_bytes // HEAD_BYTES)
        return not self._per_s or self._rates.of(address, self._rate).took_one(_now())

    def asks(self, address: str | None, head_bytes: int = 0) -> float:
        """It asks by HTTP, whatever it may be, in a head of so many bytes: how long, in s, it is to wait for that."""
        pace = self.pace(address)
        return 0.0 if pace is None else pace.pay(1 + head_bytes // HEAD_BYTES)

    def _insists(self, address: str | None) -> bool:
        """Whether it goes on asking for sockets though it was refused as many as it may have in one go."""
        rate = self._rates.known(address)
        return rate is not None and rate.is_deaf

    def pace(self, address: str | None) -> Pace | None:
        """What an address may ask by HTTP, whatever and whoever it may be; None for as much as it likes."""
        per_s, burst = self._requests
        if address is None or not per_s:
            return None
        return self._paces.of(address, lambda: Pace(per_s, burst, _now))

    def _rate(self) -> TokenBucket:
        # All that it may have come at once when we come back.
        return TokenBucket(self._per_s, self._limit or MANY_AT_ONCE, _now)

    def is_proxy(self, name: str) -> bool:
        """Whether it is the address of a proxy that is believed."""
        if not self._proxies:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


class Slot:
    """One connection, as it counts against its address."""

    __slots__ = ("_address", "_behind", "_limits", "_peer", "_stays", "ours")

    def __init__(self, limits: AddressLimits, peer: str | None, ours: str | None) -> None:
        self.ours = ours
        """The address of ours that it came to."""
        self._limits = limits
        self._peer = peer
        self._address = limits.counted(peer, ours)
        self._behind: str | None = None
        self._stays = False
        limits.enter(self._address)

    @property
    def has_room(self) -> bool:
        """Whether it may stay, now that it has come."""
        return self._limits.has_room(self._address)

    @property
    def counted_as(self) -> str | None:
        """The address as which it counts, while it asks."""
        return self._address or self._behind

    @property
    def pace(self) -> Pace | None:
        """That of its address."""
        return self._limits.pace(self.counted_as)

    async def wait(self, head_bytes: int = 0) -> None:
        """Return when what its address has asked for is made up for, this one with it, whose head has so many bytes."""
        if owed_s := self._limits.asks(self.counted_as, head_bytes):
            await asyncio.sleep(owed_s)

    def charge_garbage(self) -> None:
        """Count a request that can't be read as a handshake: it costs as much."""
        self._limits.shakes_hands(self._address)

    @contextmanager
    def asking(self, forwarded: str, *, shakes_hands: bool = False) -> Iterator[str | None]:
        """It asks, for a socket where it `shakes_hands`, and its `X-Forwarded-For` is `forwarded`.

        Why it is to be refused, in words, where its address has too much.
        """
        behind = self._limits.behind(self._peer, forwarded) if self._address is None else None
        self._limits.enter(behind)
        self._behind = behind
        asked = self._address or behind
        try:
            if self._limits.has_many(asked):
                yield f"Too many connections of {asked} are open."
            elif shakes_hands and not self._limits.shakes_hands(asked):
                yield f"Too many connections are opened by {asked}."
            else:
                yield None
        finally:
            if not self._stays:
                self._limits.leave(behind)

    def admit(self, forwarded: str, head_bytes: int) -> bool:
        """As `asking` for a socket that may be had at once, where it may: it then stays."""
        behind = self._limits.behind(self._peer, forwarded) if self._address is None else None
        self._limits.enter(behind)
        if not self._limits.admit(self._address or behind, head_bytes):
            self._limits.leave(behind)
            return False
        self._behind = behind
        self.keep()
        return True

    def keep(self) -> None:
        """From now on it counts as what it asks for until it closes: its request lasts as long as the connection."""
        self._stays = True

    def close(self) -> None:
        """The connection has closed."""
        self._limits.leave(self._address)
        if self._stays:
            self._limits.leave(self._behind)
        self._limits.closed()


def _now() -> float:
    return asyncio.get_running_loop().time()


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
