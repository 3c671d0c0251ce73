"""Whose a connection is: by its address, and by what a proxy says that is believed."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.server.connections.address_limits import SPARE, AddressLimits
from gateway.settings import Settings
from gateway.token_bucket import MANY_BUCKETS
from tests.support.waiting import let_pass


def limits(*proxies: str, limit: int = 1, most: int = 10, per_s: float = 0) -> AddressLimits:
    """One that believes `proxies`."""
    settings = Settings(
        _env_file=None,
        trusted_proxies=proxies,
        max_connections_per_address=limit,
        max_connections=most,
        handshakes_per_s=per_s,
    )
    return AddressLimits(settings)


def connection(peer: Any, ours: str = "192.0.2.1") -> Any:
    """A transport between these addresses."""
    ends = {"peername": peer if peer is None else (peer, 1234), "sockname": (ours, 80)}
    return SimpleNamespace(get_extra_info=ends.get)


# Who connects, what its X-Forwarded-For says, and as whom it is counted.
ASKED: list[tuple[str, str, str | None]] = [
    ("198.51.100.7", "", "198.51.100.7"),
    ("198.51.100.7", "203.0.113.9", "198.51.100.7"),  # not a proxy of ours: words
    ("192.0.2.1", "203.0.113.9", None),  # on this machine
    ("10.0.0.1", "", None),  # the proxy itself, that looks whether we are well
    ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
    ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),  # the first was the client's own idea
    ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),  # two proxies, one behind the other
    ("10.0.0.1", "10.0.0.2", None),
    ("10.0.0.1", "unknown", "unknown"),
    ("10.0.0.1", "x" * 1000, "x" * 100),
    ("10.0.0.1", " , ,", None),
    ("10.0.0.1", "2001:db8:0:1::7", "2001:db8:0:1::/64"),
    ("2001:db8:0:1::7", "", "2001:db8:0:1::/64"),
    ("2001:db8:0:1:ffff::", "", "2001:db8:0:1::/64"),
    ("::ffff:198.51.100.7", "", "198.51.100.7"),
]


@pytest.mark.parametrize(("peer", "forwarded", "counted"), ASKED)
def test_request_counts_as_its_address(peer: str, forwarded: str, counted: str | None) -> None:
    """The peer's own, or the last that a trusted proxy names; nobody gets another's by saying so."""
    found, transport = limits("10.0.0.0/8"), connection(peer)
    # The second is one too many, where it is counted at all.
    one, other = found.open(transport), found.open(transport)
    with one.asking(forwarded) as first, other.asking(forwarded) as second:
        assert second == (counted and f"Too many connections of {counted} are open.")
        if found.counted(peer, "192.0.2.1") is None:
            assert first is None


async def test_who_has_gone_is_forgotten() -> None:
    """Nothing of an address stays when its last connection is gone; a socket that stays counts until then."""
    found = limits("10.0.0.1")
    direct, behind = found.open(connection("198.51.100.7")), found.open(connection("10.0.0.1"))
    with behind.asking("203.0.113.9"), direct.asking(""):
        assert repr(found) == "<AddressLimits 2 connections from 2 addresses>"
    with behind.asking("203.0.113.9"):
        behind.keep()
    at_once = found.open(connection("10.0.0.1"))
    assert not at_once.admit("203.0.113.9", 0)
    at_once.close()
    direct.close()
    assert repr(found) == "<AddressLimits 1 connections from 1 addresses>"
    behind.close()
    at_once = found.open(connection("10.0.0.1"))
    assert at_once.admit("203.0.113.9", 0)
    assert repr(found) == "<AddressLimits 1 connections from 1 addresses>"
    at_once.close()
    assert repr(found) == "<AddressLimits 0 connections from 0 addresses>"


@pytest.mark.looptime
@pytest.mark.parametrize("at_once", [True, False], ids=["the short way", "aiohttp's"])
async def test_who_opens_sockets_without_end_is_refused_and_then_cut_off(*, at_once: bool) -> None:
    """An address has its rate, as many in one go as it may have at once; who goes on though told so is not heard until
    there is room again. Others don't notice, and nothing is kept of who has long been quiet."""
    found, now = limits("10.0.0.1", limit=4, per_s=1), asyncio.get_running_loop().time
    began = now()

    def shakes(peer: str = "198.51.100.7", forwarded: str = "") -> str:
        slot = found.open(connection(peer))
        if not slot.has_room:
            slot.close()
            return "cut off"
        if at_once and slot.admit(forwarded, 0):
            slot.close()
            return "ok"
        with slot.asking(forwarded, shakes_hands=True) as refused:
            slot.close()
        return "refused" if refused else "ok"

    assert [shakes() for _ in range(10)] == ["ok"] * 4 + ["refused"] * 4 + ["cut off"] * 2
    assert shakes("198.51.100.8") == "ok"
    assert shakes("10.0.0.1", "203.0.113.9") == "ok"
    assert [shakes("192.0.2.1") for _ in range(10)] == ["ok"] * 10  # on this machine
    await let_pass(1)
    assert [shakes() for _ in range(3)] == ["ok", "refused", "cut off"]
    assert now() == began + 1
    await let_pass(100)
    for number in range(3 * MANY_BUCKETS):
        assert shakes(f"198.51.{number // 250}.{number % 250}") == "ok"
        if number % 100 == 0:
            await let_pass(1)
    assert len(found._rates) <= 2 * MANY_BUCKETS


def test_there_is_an_end_to_all_connections() -> None:
    """Whoever they are, and be they only silent sockets: no more than clients may be there, and some."""
    found = limits(limit=0)
    came = [found.open(connection(f"198.51.{n % 250}.7")).has_room for n in range(10 + SPARE + 1)]
    assert came == [True] * (10 + SPARE) + [False]


def test_bad_network_of_proxies_is_refused_at_the_start() -> None:
    """With its name, before anybody is believed."""
    with pytest.raises(ValueError, match="GATEWAY_TRUSTED_PROXIES: 'proxy' does not appear"):
        Settings(_env_file=None, trusted_proxies=("proxy",))


@pytest.mark.looptime
async def test_long_head_counts_for_more() -> None:
    """One more for each KiB."""
    found = limits()
    assert {found.asks("198.51.100.9", 1023) for _ in range(1000)} == {0.0}
    assert [found.asks("198.51.100.9", 4096) for _ in range(300)][::299] == [0.0, 0.5]


async def test_who_speaks_no_http_has_asked_for_a_socket() -> None:
    """What can't be read costs as much, so it takes from the same rate; who is not counted by address has none."""
    found = limits(limit=4, per_s=0.01)
    for peer in ("198.51.100.7", "192.0.2.1"):
        for _ in range(4):
            found.open(connection(peer)).charge_garbage()
    assert [found.shakes_hands(who) for who in ("198.51.100.7", "198.51.100.8")] == [False, True]


@pytest.mark.looptime
async def test_address_waits_for_what_it_asks_too_fast() -> None:
    """Over all of its connections 2000 at once and 1000 a second, and a second at most; nobody else waits for it, and
    nobody where requests are not limited."""
    found, unlimited = limits("10.0.0.1"), AddressLimits(Settings(_env_file=None, requests_per_s=0))
    assert {found.asks("198.51.100.7") for _ in range(2000)} == {0.0}
    assert [found.asks("198.51.100.7") for _ in range(3000)][99::900] == [0.1, 1.0, 1.0, 1.0]
    assert {found.asks("198.51.100.8"), *(found.asks(None) for _ in range(3000))} == {0.0}
    assert {unlimited.asks("198.51.100.7") for _ in range(3000)} == {0.0}
    began = asyncio.get_running_loop().time()
    for peer, forwarded, waits_s in (("10.0.0.1", "203.0.113.9", 0), ("198.51.100.7", "", 1)):
        slot = found.open(connection(peer))
        with slot.asking(forwarded):
            await slot.wait()
        assert asyncio.get_running_loop().time() - began == pytest.approx(waits_s)


@pytest.mark.looptime
async def test_who_comes_in_at_once_pays_for_the_length_of_its_head() -> None:
    """As whoever waits: one, and one more for each KiB, of the same 2000."""
    found = limits(limit=0)
    came = [found.open(connection("198.51.100.7")).admit("", 3 << 10) for _ in range(501)]
    assert came == [True] * 500 + [False]
