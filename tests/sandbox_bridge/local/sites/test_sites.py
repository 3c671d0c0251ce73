"""Web sites out of jails: the command `serve`, ports that are noticed, and how long they stay."""

import asyncio
import platform
import random
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox_bridge.local.jail.profile import counts_processes
from tests.sandbox_bridge.local.service import (
    Peer,
    Service,
    code_of,
    eventually,
    open_files,
    progress,
    running_service,
    task,
    text_of,
)
from tests.sandbox_bridge.local.visitors import Answer, close, get, is_up, site, visit

ECHO = """
import socket, threading
server = socket.create_server(("{host}", {port}), family=socket.{family}, backlog=64)
def echo(peer):
    with peer:
        while data := peer.recv(65536):
            peer.sendall(data)
while True:
    threading.Thread(target=echo, args=[server.accept()[0]], daemon=True).start()
"""


@pytest.fixture
async def listening(bridge: Peer) -> AsyncIterator[str]:
    """The address of a site that echoes bytes, of a task that runs."""
    await bridge.send(task({"argv": ["python3", "-c", ECHO.format(host="", port=3000, family="AF_INET")]}))
    ready = (await bridge.until(lambda frame: bool(progress([frame], "server_ready"))))[-1]["progress"]
    assert ready["port"] == 3000
    yield ready["url"]
    await bridge.send({"type": "cancel_task", "session_id": "s"})
    await bridge.until_end()


# --- serve --------------------------------------------------------------------------------------------


async def test_serve_shows_the_folder(peer: Peer) -> None:
    """A core client gets the address; there are the files with their types, the index, and 404 for the rest."""
    files = {"index.html": "<p>é</p>", "sub/index.html": "below", "sub/a.css": "p{}", "data.bin": "x"}
    await peer.send(task("serve", kind="execute_task", files=files))
    end = await peer.recv()
    assert (end["type"], end["result"]["exit_code"]) == ("task_completed", 0)
    assert [(c["command"], c["exit_code"], c["reason"]) for c in end["result"]["commands"]] == [
        ("serve", 0, "exit")
    ]
    url = end["result"]["url"]
    assert urlsplit(url).hostname == "127.0.0.1"
    assert get(url) == Answer(200, "text/html; charset=utf-8", "<p>é</p>".encode())
    assert get(f"{url}sub/") == Answer(200, "text/html; charset=utf-8", b"below")
    assert get(f"{url}sub/a.css") == Answer(200, "text/css; charset=utf-8", b"p{}")
    assert get(f"{url}data.bin") == Answer(200, "application/octet-stream", b"x")
    assert get(f"{url}missing").status == 404


async def test_server_ready_is_told_once(bridge: Peer) -> None:
    """`server_ready` comes before the command's end, once, with the result's address."""
    frames = await bridge.run("serve", files={"a": "b"})
    kinds = [frame["progress"]["kind"] for frame in frames[:-1]]
    assert kinds.count("server_ready") == 1
    assert kinds.index("server_ready") < len(kinds) - 1 - kinds[::-1].index("command")
    ready = progress(frames, "server_ready")[0]
    assert ready == {"kind": "server_ready", "port": 8000, "url": ready["url"], "scope": "gateway"}
    assert frames[-1]["result"]["url"] == ready["url"]
    await close(bridge)


async def test_serve_shows_its_commands_folder(peer: Peer) -> None:
    """`serve` with a folder of its own shows that one."""
    frames = await peer.run({"sh": "serve", "cwd": "dist"}, files={"dist/a": "built", "a": "source"})
    assert get(f"{frames[-1]['result']['url']}a").body == b"built"


async def test_later_commands_reach_the_site(peer: Peer) -> None:
    """A `serve` that is not the last stays up inside and outside while later commands run; then it ends."""
    script = "import urllib.request as u; print(u.urlopen('http://localhost:8000/a').read().decode())"
    await peer.send(task("serve", {"argv": ["python3", "-c", script]}, "sleep 0.5", files={"a": "mine"}))
    frames = await peer.until(lambda frame: text_of([frame]) == "mine\n")
    url = progress(frames, "server_ready")[0]["url"]
    assert get(f"{url}a").body == b"mine"
    assert (await peer.until_end())[-1]["type"] == "task_completed"
    assert not is_up(url)


async def test_failed_task_takes_its_site_along(peer: Peer) -> None:
    """When a command after `serve` fails, the site goes with the task."""
    frames = await peer.run("serve", "exit 3", files={"a": "b"})
    assert code_of(frames[-1]) == "command_failed"
    assert not is_up(progress(frames, "server_ready")[0]["url"])


async def test_serve_steps_aside_for_a_taken_port(peer: Peer) -> None:
    """Where something listens on the usual port already, `serve` takes another, and both are shown."""
    frames = await peer.run("python3 -m http.server -d / 8000 2>&1 & sleep 0.5", "serve", files={"a": "mine"})
    assert [ready["port"] for ready in progress(frames, "server_ready")] == [8000, 8001]
    assert get(f"{frames[-1]['result']['url']}a").body == b"mine"


async def test_serve_that_finds_no_process_fails(bridge: Peer) -> None:
    """A jail without room for one more process fails its `serve`, and says so."""
    if not counts_processes(platform.release()):
        pytest.skip("this kernel does not count processes per jail")
    end = (await bridge.run("serve", limits={"processes": 1}))[-1]
    assert code_of(end) in {"command_failed", "resource_limit"}


async def test_links_lead_nowhere_on_the_host(peer: Peer, tmp_path: Path) -> None:
    """A link in the folder is followed inside the jail, where the host's files are not."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    frames = await peer.run(f"ln -s {secret} a; ln -s /etc/passwd b", "serve")
    url = frames[-1]["result"]["url"]
    assert get(f"{url}a").status == 404
    assert get(f"{url}b").body.startswith(b"sandbox:x:1000")


async def test_service_for_other_machines_lets_in_its_peers_alone() -> None:
    """A site's address has the name by which the peer came; strangers are hung up on, and the peer once it is gone."""
    token = "0123456789abcdef"  # noqa: S105 - a test's own
    with running_service("--host", "0.0.0.0", SANDBOX_TOKEN=token) as service:  # noqa: S104 - with a token
        headers = {"Authorization": f"Bearer {token}"}
        async with Peer(f"ws://localhost:{service.port}/ws", additional_headers=headers) as peer:
            url = await site(peer, a="b")
            assert url.startswith("http://localhost:")
            assert get(f"{url}a").body == b"b"
            assert await said_to("127.0.0.2", url) == b""
            assert (await said_to("127.0.0.1", url)).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(5):
            while await said_to("127.0.0.1", url):
                """The service hears of the peer's end when it reads it."""


async def said_to(address: str, url: str) -> bytes:
    """What a site says to a visitor from an address of this machine."""
    port = urlsplit(url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


# --- what goes through --------------------------------------------------------------------------------


async def test_large_file_comes_whole_for_many(peer: Peer) -> None:
    """Several visitors at once each get all of a large file."""
    data = random.Random(1).randbytes(5 << 20).hex()[: 5 << 20]
    url = await site(peer, big=data)
    answers = await asyncio.gather(*(asyncio.to_thread(get, f"{url}big") for _ in range(6)))
    assert all(answer.body == data.encode() for answer in answers)


async def test_connection_is_kept_for_the_next_request(peer: Peer) -> None:
    """One connection carries one request after another."""
    url = await site(peer, a="1", b="2")
    async with visit(url) as (reader, writer):
        for path, body in ((b"/a", b"1"), (b"/b", b"2")):
            writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == body


async def test_bytes_flow_both_ways(listening: str) -> None:
    """A port that a command listens on is reached; any bytes go both ways, and one way ends by itself."""
    data = random.Random(2).randbytes(3 << 20)
    async with visit(listening) as (reader, writer):
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        writer.write(data)
        writer.write_eof()
        assert await reader.read(-1) == data


async def test_slow_reader_holds_back_its_site(service: Service, listening: str) -> None:
    """What a visitor does not read waits inside: the service piles up nothing."""
    async with visit(listening) as (reader, writer):
        writer.write(b"warm")
        await reader.readexactly(4)
        before = service.rss_kib()
        for _ in range(64):
            writer.write(bytes(1 << 20))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await writer.drain()
        assert service.rss_kib() - before < 4096


async def test_hangup_reaches_the_site(service: Service, listening: str) -> None:
    """When a visitor goes, the service keeps nothing of it."""
    before = open_files(service)
    for _ in range(5):
        async with visit(listening) as (reader, writer):
            writer.write(b"ping")
            await reader.readexactly(4)
    assert eventually(lambda: open_files(service) <= before)


async def test_site_on_the_other_loopback_is_reached(peer: Peer) -> None:
    """What listens on the jail's ::1 alone is reached as well."""
    script = ECHO.format(host="::1", port=4000, family="AF_INET6")
    await peer.send(task({"argv": ["python3", "-c", script]}))
    ready = (await peer.until(lambda frame: bool(progress([frame], "server_ready"))))[-1]["progress"]
    async with visit(ready["url"]) as (reader, writer):
        writer.write(b"six")
        assert await reader.readexactly(3) == b"six"


# --- a hostile jail -----------------------------------------------------------------------------------


async def test_many_listeners_are_shown_in_part(peer: Peer) -> None:
    """A jail that listens everywhere gets only so many of our ports, and a port's news comes once."""
    script = (
        "import socket, time; s = [socket.create_server(('', 5000 + n)) for n in range(100)]; time.sleep(1.5)"
    )
    frames = await peer.run({"argv": ["python3", "-c", script]})
    ports = [ready["port"] for ready in progress(frames, "server_ready")]
    assert len(ports) == len(set(ports)) == 8
