"""Where a task with a network may go: to public addresses by IPv4, and nowhere else. Pure.

Sources: the IANA registries of special-purpose and multicast addresses, nft(8), and what clouds answer on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

DEVICE = "tap0"
RESOLV_CONF = "/etc/resolv.conf"
ADDRESS, ROUTER = "10.0.2.100", "10.0.2.2"
"""The jail's address and its way out, as slirp4netns has them; both mean nothing outside."""

NOT_PUBLIC = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
        "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        # Azure's own services, metadata among them, on an address that looks public.
        "168.63.129.16/32",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Means:
    """What gives a jail a network: the programs' paths, and the operator's say."""

    nft: str
    slirp4netns: str
    nsenter: str
    prlimit: str
    denied: tuple[IPv4Network, ...]
    resolvers: tuple[IPv4Address, ...]


def own_networks(fib_trie: str) -> set[IPv4Network]:
    """What leads to this machine itself, from the text of `/proc/net/fib_trie`: its addresses, and broadcasts."""
    return set(_own_networks(fib_trie))


def _own_networks(fib_trie: str) -> Iterator[IPv4Network]:
    address = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[0] == "|--":
            address = words[1]
        elif words[0].startswith("/") and words[2] in {"LOCAL", "BROADCAST"}:
            yield IPv4Network(address + words[0])


def is_within(networks: Iterable[IPv4Network], denied: Iterable[IPv4Network]) -> bool:
    """Whether all `networks` are denied already."""
    walls = list(denied)
    return all(any(network.subnet_of(wall) for wall in walls) for network in networks)


def rules(denied: Iterable[IPv4Network]) -> str:
    """The filter of a jail's network, in nft's words. Names of devices, not routes: a socket may pass those by."""
    elements = ", ".join(map(str, collapse_addresses(denied)))
    return f"""
table inet egress {{
  set denied {{ type ipv4_addr; flags interval; elements = {{ {elements} }}; }}
  chain output {{
    type filter hook output priority filter; policy drop;
    oifname "lo" accept
    oifname != "{DEVICE}" drop
    meta nfproto != ipv4 drop
    ip saddr != {ADDRESS} drop
    ip hdrlength != 5 drop
    ip daddr @denied reject with icmp type admin-prohibited
    meta l4proto {{ tcp, udp }} accept
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    iifname != "{DEVICE}" drop
    meta nfproto != ipv4 drop
    ip saddr {ROUTER} icmp type {{ destination-unreachable, time-exceeded }} accept
    ip saddr @denied drop
    meta l4proto {{ tcp, udp }} accept
  }}
  chain forward {{ type filter hook forward priority filter; policy drop; }}
}}
"""


def etc_files(resolvers: Iterable[IPv4Address]) -> dict[str, bytes]:
    """What stands in a jail's /etc for names to be found."""
    lines = "".join(f"nameserver {address}\n" for address in resolvers)
    return {
        RESOLV_CONF: f"{lines}options timeout:3\n".encode(),
        "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
    }
