"""Who may come to a site, where its door is, and that no door is another's later."""

from contextlib import closing

import pytest

from sandbox_bridge.local.sites.ports import SitePorts


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_doors_on_loopback_are_open_to_the_machine(host: str) -> None:
    """Whatever name its peers use."""
    site_ports = SitePorts(host)
    with site_ports.peer("127.0.0.1", "named.example"), closing(site_ports.open_door()) as door:
        address, port = door.getsockname()
        assert (address, site_ports.url_of(port)) == ("127.0.0.1", f"http://127.0.0.1:{port}/")
        assert site_ports.lets_in("127.0.0.9")


def test_doors_elsewhere_are_open_to_connected_peers() -> None:
    """For as long as one connection of theirs is there, also where IPv4 comes to an IPv6 socket."""
    site_ports = SitePorts("0.0.0.0")  # noqa: S104 - nobody comes
    assert not site_ports.lets_in("192.0.2.1")
    with site_ports.peer("192.0.2.1", "box.example"):
        with site_ports.peer("::ffff:192.0.2.1", "box.example"):
            pass
        assert site_ports.lets_in("192.0.2.1")
        assert site_ports.lets_in("::ffff:192.0.2.1")
        assert not site_ports.lets_in("192.0.2.2")
        assert site_ports.url_of(8) == "http://box.example:8/"
    assert not site_ports.lets_in("192.0.2.1")


def test_peer_that_came_by_an_ipv6_address_is_told_that_one() -> None:
    """In brackets, as an address in a URL is."""
    site_ports = SitePorts("::")
    with site_ports.peer("2001:db8::1%eth0", "2001:db8::2"):
        assert site_ports.url_of(80) == "http://[2001:db8::2]:80/"
        assert site_ports.lets_in("2001:db8::1")


def test_port_is_not_given_twice() -> None:
    """Though the kernel would: here there are but a few, and each is free again at once."""
    site_ports = SitePorts("127.0.0.1")
    ports = []
    for _ in range(300):
        with site_ports.open_door() as door:
            ports.append(door.getsockname()[1])
    assert len(set(ports)) == 300


def test_door_of_a_port_that_had_one_is_refused() -> None:
    """And another is found."""
    site_ports = SitePorts("127.0.0.1")
    with site_ports.open_door() as door:
        port = door.getsockname()[1]
    assert not site_ports._give(port)
    assert site_ports._give(port + 1)
