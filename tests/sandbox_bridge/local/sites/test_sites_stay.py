"""How long sites stay, and who must make room for whom."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.sandbox_bridge.local.service import (
    Peer,
    Service,
    eventually,
    open_files,
    processes_with,
    running_service,
    text_of,
)
from tests.sandbox_bridge.local.visitors import close, ends, get, is_up, listens, site, visit


@pytest.fixture
def small() -> Iterator[Service]:
    """A service with room for one task, two sites, and four connections."""
    with running_service(SANDBOX_MAX_SESSIONS="1", SANDBOX_MAX_SITES="2", SANDBOX_MAX_VISITS="4") as service:
        yield service


async def test_site_takes_no_sessions_place(small: Service) -> None:
    """A site that stays counts for nothing among the sessions."""
    async with Peer(small.url) as peer:
        url = await site(peer)
        await peer.send({"type": "health_check"})
        assert (await peer.recv())["active_sessions"] == 0
        assert text_of(await peer.run("echo next", session_id="next")) == "next\n"
        assert is_up(url)


async def test_close_session_takes_the_site_down(service: Service, bridge: Peer) -> None:
    """A closed session's site is gone, with its jail and all that we held open for it."""
    await bridge.run("true", session_id="warm")
    before = open_files(service)
    url = await site(bridge, a="b")
    assert is_up(url)
    await close(bridge)
    assert eventually(lambda: not is_up(url))
    assert eventually(lambda: open_files(service) <= before)


async def test_cancel_after_the_end_leaves_the_site(peer: Peer) -> None:
    """A cancel that comes after the task has completed is ignored."""
    url = await site(peer)
    await peer.send({"type": "cancel_task", "session_id": "s"})
    await peer.send({"type": "health_check"})
    assert (await peer.recv())["type"] == "health"
    assert is_up(url)


async def test_longest_idle_site_goes_first(small: Service) -> None:
    """One site too many: the one that nobody has asked for longest goes, the others stay."""
    async with Peer(small.url) as peer:
        first, second = await site(peer, session_id="1"), await site(peer, session_id="2")
        assert is_up(first)
        third = await site(peer, session_id="3")
        assert eventually(lambda: not is_up(second))
        assert (get(first).body, get(third).body) == (b"1", b"3")


async def test_idle_site_goes() -> None:
    """A site that nobody asks for goes, also when its peer is gone; a request begins its time anew."""
    with running_service(SANDBOX_SITE_IDLE_S="3") as service:
        async with Peer(service.url) as peer:
            before = open_files(service)
            url, other = await site(peer), await site(peer, session_id="other")
        assert eventually(lambda: is_up(url) and not listens(other))
        assert is_up(url)
        assert eventually(lambda: not listens(url))
        assert eventually(lambda: open_files(service) < before)


async def test_new_task_of_a_session_replaces_its_site(peer: Peer) -> None:
    """A session has one site: that of its last task."""
    first = await site(peer, a="1")
    second = await site(peer, a="2")
    assert eventually(lambda: not is_up(first))
    assert get(f"{second}a").body == b"2"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_sites_end_with_their_service(number: signal.Signals) -> None:
    """However the service ends, its sites and their jails do, too."""
    with running_service() as service:
        async with Peer(service.url) as peer:
            marker = f"site-{os.getpid()}-{number}"
            script = f"import time; '{marker}'; time.sleep(60)"
            frames = await peer.run(f'setsid python3 -c "{script}" & true', "serve")
            url = frames[-1]["result"]["url"]
            assert is_up(url)
            assert processes_with(marker)
            service.process.send_signal(number)
            await asyncio.to_thread(service.process.wait, 10)
    assert not is_up(url)
    assert eventually(lambda: processes_with(marker) == [])


async def test_jail_that_dies_takes_its_site_along(peer: Peer) -> None:
    """A site whose jail ends by itself is gone, and its address with it."""
    frames = await peer.run("(sleep 2; kill -9 2) & true", "serve")
    url = frames[-1]["result"]["url"]
    assert eventually(lambda: not is_up(url))


async def test_silent_visitors_make_room(small: Service) -> None:
    """Visitors who only hold a connection are sent away when others come, and only from their own site."""
    async with Peer(small.url) as peer:
        first, second = await site(peer, session_id="1"), await site(peer, session_id="2")
        async with visit(second) as (reader, writer):
            async with AsyncExitStack() as stack:
                silent = [await stack.enter_async_context(visit(first)) for _ in range(40)]
                assert (await asyncio.to_thread(get, first)).body == b"1"
                assert all(await asyncio.gather(*(ends(silent_reader) for silent_reader, _ in silent)))
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.read(-1)).endswith(b"2")


async def test_site_keeps_its_limits_after_its_task(bridge: Peer) -> None:
    """A site whose jail wants more memory than its task may have is taken down, and its address with it."""
    bomb = "(sleep 0.5; exec python3 -c 'x = bytearray(300 << 20); import time; time.sleep(60)') & true"
    frames = await bridge.run(bomb, "serve", limits={"memory_mb": 96})
    url = frames[-1]["result"]["url"]
    assert frames[-1]["type"] == "task_completed"
    assert eventually(lambda: not is_up(url))
