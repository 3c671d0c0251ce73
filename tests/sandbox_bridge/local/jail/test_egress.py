"""Where a task with a network may go."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from sandbox_bridge.local.jail.egress import NOT_PUBLIC, is_within, own_networks, rules

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 5.6.7.0/24 2 0 1
        |-- 5.6.7.0
           /24 link UNICAST
        |-- 5.6.7.8
           /32 host LOCAL
        |-- 5.6.7.255
           /32 link BROADCAST
Local:
  +-- 11.0.0.0/8 2 0 2
        |-- 11.0.0.0
           /8 host LOCAL
           /16 link UNICAST tos=0x10
"""


def test_own_networks_are_what_the_kernel_delivers_here() -> None:
    """Addresses, broadcasts and whole networks that lead to this machine are found; routes to others are not."""
    assert own_networks(FIB_TRIE) == {
        IPv4Network("5.6.7.8/32"),
        IPv4Network("5.6.7.255/32"),
        IPv4Network("11.0.0.0/8"),
    }


def test_each_address_that_python_calls_private_is_denied() -> None:
    """Our list is no shorter than another's: each /16 is looked at in three places."""
    for high in range(1 << 16):
        for low in (1, 0x0201, 0xFFFF):
            address = IPv4Address(high << 16 | low)
            if not address.is_global or address.is_multicast:
                assert is_within([IPv4Network(address)], NOT_PUBLIC), address


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.0", "223.255.255.255"]
)
def test_public_address_is_not_denied(address: str) -> None:
    """The list is no longer than it has to be."""
    assert not is_within([IPv4Network(address)], NOT_PUBLIC)


def test_overlapping_networks_make_one_set() -> None:
    """nft takes no set whose elements overlap."""
    text = rules([*NOT_PUBLIC, IPv4Network("10.1.0.0/16"), IPv4Network("5.6.7.8/32")])
    assert "10.0.0.0/8" in text
    assert "10.1.0.0/16" not in text
    assert "5.6.7.8/32" in text
