"""A jail that may go to the internet goes nowhere else: the host, its network and its cloud stay out of reach."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.escapes.attacks import internet as ways
from tests.escapes.attacks import network
from tests.escapes.host import Host, host_with_bait
from tests.escapes.internet import FORBIDDEN, HOST, PORT, Internet, internet
from tests.escapes.operators import operator
from tests.escapes.range import Range
from tests.escapes.test_network import ODD, RAW
from tests.support.bare_client import Client, client
from tests.support.kernel import has_open_tun
from tests.support.processes import until
from tests.support.sandbox_process import sandbox_service

_MISSING = [name for name in ("slirp4netns", "nft", "ip", "unshare") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make an internet of his own"),
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
    pytest.mark.skipif(not has_open_tun(), reason="this machine has no /dev/net/tun for everybody"),
]

REFUSED = {"EHOSTUNREACH", "timed out"}
"""The filter's answer; the kernel gives it so often in a second, and is silent then."""


@dataclass(frozen=True, slots=True)
class World:
    """The internet, and a service in it whose tasks may go there."""

    internet: Internet
    host: Host
    url: str


@pytest.fixture(scope="module", params=["root", "plain"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A service whose tasks have a network unless they ask for none."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bait-", dir="/var/tmp"))
        who = stack.enter_context(operator(request.param))
        world = stack.enter_context(internet())
        with world.host.entered():
            host = stack.enter_context(host_with_bait(who.guest_uid, Path(folder)))
            service = sandbox_service(
                *who.prefix, network="full", max_network="full", denied_networks="3.4.5.0/24"
            )
            url = stack.enter_context(service)
        yield World(world, host, url)


@pytest.fixture
async def attack(world: World) -> AsyncIterator[Range]:
    """The way in, with ourselves beside the host; afterwards it and all others must be untouched."""
    with world.internet.host.entered():
        world.internet.assert_open_to_the_host()
        yield Range(world.url, world.host.bait)
        assert world.internet.touched() == set()
        world.host.assert_untouched()


async def test_public_address_is_reached(attack: Range) -> None:
    """Streams, datagrams larger than a packet, and names work."""
    assert (await attack(ways.fetch)).endswith("hello")
    assert await attack(ways.echo) == "5000 bytes"
    assert await attack(ways.look_up, "any.example") == "1.2.3.4"


async def test_addresses_that_are_not_public_are_refused(attack: Range) -> None:
    """No way leads there: plain, past the routes, by options of IP, in fragments, by other protocols."""
    answers = await attack(ways.knock, FORBIDDEN, PORT)
    assert answers["public"] == "hello"
    for address in FORBIDDEN:
        assert answers[f"{address} stream"] in REFUSED
        assert answers[f"{address} bound_stream"] in REFUSED
        assert answers[f"{address} datagram"] == "EPERM"


async def test_private_address_is_not_heard(attack: Range) -> None:
    """Who is not public can't answer either, though he has learnt the port."""
    assert await attack(ways.hear) == ["1.2.3.4"]


async def test_host_itself_is_refused(attack: Range, world: World) -> None:
    """Neither its public address nor its loopback is met, nor what slirp4netns would make of its own addresses."""
    for port in (PORT, world.host.bait.tcp, world.host.bait.udp, attack_port(world), 53, 67, 69):
        answers = await attack(ways.knock, [HOST, "10.0.2.2", "10.0.2.3"], port)
        streams = {words for way, words in answers.items() if way.endswith("stream") and "routed" not in way}
        assert streams <= REFUSED, answers
    answers = await attack(ways.knock, ["127.0.0.1", "127.8.8.8"], world.host.bait.tcp)
    assert answers["127.0.0.1 stream"] == "ECONNREFUSED", "there it meets only itself"
    assert answers["127.0.0.1 bound_stream"] in REFUSED


def attack_port(world: World) -> int:
    """Where the service itself listens."""
    return int(world.url.rsplit(":", 1)[1].split("/")[0])


async def test_groups_and_broadcasts_are_refused(attack: Range) -> None:
    """Nothing goes to many at once."""
    addresses = ["224.0.0.1", "239.1.2.3", "255.255.255.255", "10.0.2.255", "5.6.7.255"]
    answers = await attack(ways.knock, addresses, PORT)
    assert answers["public"] == "hello"
    for address in addresses:
        assert answers[f"{address} bound_stream"] != "done"


async def test_network_can_not_be_changed_from_inside(attack: Range) -> None:
    """Interfaces, routes, filters and settings are not the guest's; its sockets are of no other kind."""
    for answers in (
        await attack(network.interfaces),
        await attack(network.namespaces),
        await attack(network.sockets, RAW | ODD),
        await attack(ways.settings),
    ):
        assert answers
        assert "done" not in answers.values(), answers


async def test_crowd_of_connections_is_bounded(attack: Range) -> None:
    """One jail takes no more than its part of the host's ports, and its neighbour has a way out."""
    assert 100 < await attack(ways.crowd, 1500) <= 512
    assert (await attack(ways.fetch)).endswith("hello")
    await attack.neighbour_is_well()


async def test_task_without_network_has_none(attack: Range) -> None:
    """A task that asks for none has its loopback alone, and its result says so."""
    outcome = await attack.outcome(ways.fetch, limits={"network": "none"})
    assert "Network is unreachable" in outcome.stderr
    assert outcome.end["error_info"]["result"]["isolation"]["network"] is False
    outcome = await attack.outcome(ways.fetch)
    assert outcome.end["result"]["isolation"]["network"] is True


async def test_way_out_ends_with_its_jail(attack: Range, world: World) -> None:
    """What carries a jail's packets is gone when its task has ended."""
    await attack(ways.fetch)
    assert not world.internet.host.has_program("slirp4netns")


async def test_way_out_stands_still_with_its_jail(world: World) -> None:
    """A paused task neither sends nor takes anything more; what carries its packets goes on with it."""
    with world.internet.host.entered():
        async with client(world.url) as bare:
            await begin(bare)
            (router,) = world.internet.host.programs("slirp4netns")
            await bare.say("pause_task", "long")
            assert (await bare.next())["type"] == "task_paused"
            await until(lambda: is_stopped(router), within_s=5, what="its way out stands")
            await bare.say("resume_task", "long")
            assert (await bare.next())["type"] == "task_resumed"
            await until(lambda: not is_stopped(router), within_s=5, what="its way out goes on")
            await bare.say("pause_task", "long")
            await bare.say("cancel_task", "long")
            await bare.session("long", passing="task_paused")
        await until(lambda: not world.internet.host.has_program("slirp4netns"), within_s=5, what="its end")


async def test_way_out_dies_with_a_killed_service(world: World) -> None:
    """Nothing carries packets for a service that was killed, at once and with its watchdog."""
    with world.internet.host.entered(), sandbox_service(network="full", max_network="full", warm="0") as url:
        async with client(url) as bare:
            await begin(bare)
            assert len(world.internet.host.programs("slirp4netns")) == 1
            os.kill(Range(url, world.host.bait).service_pid, signal.SIGKILL)
            await until(
                lambda: not world.internet.host.has_program("slirp4netns"), within_s=5, what="its end"
            )


async def begin(bare: Client) -> None:
    """Start the task `long`, and wait until it has its network."""
    await bare.greet()
    await bare.say("stream_task", "long", commands=["echo begun; sleep 60"])
    while (await bare.next())["progress"]["kind"] != "output":
        """Until its network is there."""


def is_stopped(pid: int) -> bool:
    """Whether a process was told to stand still, and does."""
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "T"


async def test_new_address_of_the_host_ends_the_network(attack: Range, world: World) -> None:
    """A jail whose filter does not know an address of the host has no network from then on."""
    host = world.internet.host
    script = "cat; python3 -c 'import socket; socket.create_connection((\"7.7.7.7\", 80), 2)'"
    async with client(world.url) as bare:
        await bare.greet()
        await bare.say("stream_task", "long", commands=["echo begun", script], stdin=True)
        while (await bare.next())["progress"]["kind"] != "output":
            """Until its network is there."""
        assert host.has_program("slirp4netns")
        try:
            host.run("ip addr add 7.7.7.7/32 dev lo")
            await until(lambda: not host.has_program("slirp4netns"), within_s=5, what="its way out is gone")
            await bare.say("task_input", "long", data="", eof=True)
            _, end = await bare.session("long")
        finally:
            host.run("ip addr del 7.7.7.7/32 dev lo")
    assert end["type"] == "task_error", end
