"""No way out by the network: a jail has a loopback of its own, and nothing else."""

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.escapes.attacks import network
from tests.escapes.host import Host
from tests.escapes.range import Range


async def test_tcp_to_the_host_is_refused(attack: Range, host: Host) -> None:
    """Nobody listens on a jail's loopback, whoever does on the host's."""
    assert await attack(network.stream, socket.AF_INET, ("127.0.0.1", host.bait.tcp)) == "ECONNREFUSED"


async def test_tcp_over_ipv6_is_refused(attack: Range, host: Host) -> None:
    """The other loopback is the jail's own, too."""
    assert await attack(network.stream, socket.AF_INET6, ("::1", host.bait.tcp6)) in {
        "ECONNREFUSED",
        "EADDRNOTAVAIL",
    }


async def test_udp_to_the_host_is_lost(attack: Range, host: Host) -> None:
    """A datagram to the host's port arrives nowhere."""
    await attack(network.datagram, socket.AF_INET, ("127.0.0.1", host.bait.udp))


async def test_hosts_own_address_is_unreachable(attack: Range, host: Host) -> None:
    """The host's address in its network is not the jail's way to the host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback's")
        address = route.getsockname()[0]
    assert await attack(network.stream, socket.AF_INET, (address, host.bait.tcp)) == "ENETUNREACH"


async def test_service_itself_is_unreachable(attack: Range) -> None:
    """A task can't knock at the service's own door, and so start tasks."""
    port = urlsplit(attack.url).port
    assert await attack(network.stream, socket.AF_INET, ("127.0.0.1", port)) == "ECONNREFUSED"


async def test_no_interface_leads_out(attack: Range, host: Host) -> None:
    """There is one interface, and through it nobody is met."""
    assert await attack(network.to_any_interface, host.bait.tcp) == {"lo": "ECONNREFUSED"}


async def test_abstract_socket_of_the_host_is_not_there(attack: Range, host: Host) -> None:
    """Abstract names belong to the network namespace."""
    assert await attack(network.stream, socket.AF_UNIX, f"\0{host.bait.abstract_socket}") == "ECONNREFUSED"
    name = f"\0{host.bait.abstract_socket}-datagrams"
    assert await attack(network.datagram, socket.AF_UNIX, name) == "ECONNREFUSED"


async def test_socket_files_of_the_host_are_not_there(attack: Range, host: Host) -> None:
    """No folder with a socket of the host is seen: not ours, not one of a well-known daemon."""
    assert await attack(network.stream, socket.AF_UNIX, host.bait.path_socket) == "ENOENT"
    assert await attack(network.found_sockets) == []


RAW: dict[str, Any] = {
    "raw icmp": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "raw ip": (socket.AF_INET, socket.SOCK_RAW, 255),
    "raw icmp 6": (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    "packet": (socket.AF_PACKET, socket.SOCK_RAW, 0x0300),
    "packet datagram": (socket.AF_PACKET, socket.SOCK_DGRAM, 0x0300),
}


async def test_raw_and_packet_sockets_are_refused(attack: Range) -> None:
    """Nobody forges or listens to packets."""
    answers = await attack(network.sockets, RAW)
    assert set(answers.values()) <= {"EPERM", "EACCES", "EAFNOSUPPORT"}, answers


ODD: dict[str, Any] = {
    "hypervisor": (40, socket.SOCK_STREAM, 0),
    "ciphers": (38, socket.SOCK_SEQPACKET, 0),
    "bluetooth": (31, socket.SOCK_RAW, 1),
    "can": (29, socket.SOCK_RAW, 1),
    "packets in rings": (44, socket.SOCK_RAW, 0),
    "key management": (15, socket.SOCK_RAW, 2),
    "tipc": (30, socket.SOCK_STREAM, 0),
    "infiniband": (21, socket.SOCK_SEQPACKET, 0),
    "events of the kernel": (socket.AF_NETLINK, socket.SOCK_DGRAM, 15),
    "audit": (socket.AF_NETLINK, socket.SOCK_RAW, 9),
    "firewall": (socket.AF_NETLINK, socket.SOCK_RAW, 12),
    "processes": (socket.AF_NETLINK, socket.SOCK_DGRAM, 11),
}
"""Nothing is sent on any: a socket that is only made reaches nobody."""


async def test_odd_families_of_sockets_are_refused(attack: Range) -> None:
    """A jail's sockets are of the internet and of itself: above all, none leads to the hypervisor."""
    answers = await attack(network.sockets, ODD)
    assert set(answers.values()) <= {"EAFNOSUPPORT", "EPROTONOSUPPORT", "EPERM"}, answers


async def test_interfaces_can_not_be_changed(attack: Range) -> None:
    """No address, route, link or tunnel can be made in a jail's network."""
    answers = await attack(network.interfaces)
    assert "done" not in answers.values(), answers


async def test_namespaces_can_not_be_entered(attack: Range) -> None:
    """A task can't join a namespace, not even one that it can name."""
    answers = await attack(network.namespaces)
    assert len(answers) >= 7
    assert "done" not in answers.values(), answers
