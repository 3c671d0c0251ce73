"""Sites of a gateway that has a name for them, below which each has an origin of its own."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.journeys.test_hostile_peers import PATHS
from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.processes import rss_mib
from tests.support.raw_websocket import connected
from tests.support.site_script import SITE

pytestmark = pytest.mark.journey

PREVIEWS = "preview.localhost"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def named(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway that names sites below `PREVIEWS`."""
    folder = tmp_path_factory.mktemp("named") / "data"
    async with running_gateway(folder, env={"GATEWAY_PREVIEW_HOST": PREVIEWS}) as gateway:
        yield gateway


@asynccontextmanager
async def site(gateway: GatewayProcess, *commands: str) -> AsyncIterator[tuple[Client, str, str]]:
    """A client whose task has put up a site; the task's id, and the site's URL."""
    files = {"index.html": "<h1>Hello</h1>", "site.py": SITE}
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(input={"files": files, "commands": list(commands)})
        ready = await me.until_event(task_id, "server_ready")
        yield me, task_id, ready["data"]["url"]
        await me.ask("cancel_task", task_id=task_id)


def visitor(gateway: GatewayProcess, url: str) -> ClientSession:
    """An HTTP client that asks the gateway for the site of that URL, as the proxy before it would."""
    return ClientSession(gateway.url, headers={"Host": str(urlsplit(url).hostname)})


async def text_at(gateway: GatewayProcess, url: str, path: str = "/") -> tuple[int, str]:
    """Status and text of a site."""
    async with visitor(gateway, url) as http, http.get(path) as answer:
        return answer.status, await answer.text()


async def test_served_folder_has_a_name_of_its_own(named: GatewayProcess) -> None:
    """The URL is a secret label below the preview host; the same in event and result; it is all the site's."""
    async with client(named.socket_url) as me:
        task_id = await me.submit(input={"files": {"index.html": "<h1>Hello</h1>"}, "commands": ["serve"]})
        events = await me.until_ended(task_id)
    (ready,) = [event["data"] for event in events if event["event"] == "server_ready"]
    assert re.fullmatch(rf"https://[0-9a-f]{{32}}\.{re.escape(PREVIEWS)}/", ready["url"])
    assert (events[-1]["data"]["result"]["url"], ready["scope"]) == (ready["url"], "gateway")
    assert await text_at(named, ready["url"]) == (200, "<h1>Hello</h1>")
    for path in ("/livez", "/v1/whoami", "/ws", "/metrics"):
        status, text = await text_at(named, ready["url"], path)
        assert (status, "Not Found" in text or "Error" in text) == (404, True), path
    label = str(urlsplit(ready["url"]).hostname).partition(".")[0]
    assert label not in named.data_dir.with_suffix(".log").read_text()


async def test_program_streams_both_ways(named: GatewayProcess) -> None:
    """Large bodies in and out with little memory, events as they come, and messages on a socket."""
    async with site(named, "python3 site.py") as (_, _, url), visitor(named, url) as http:
        before = rss_mib(named.pid)
        block, blocks = b"u" * 65536, 1024

        async def body() -> AsyncIterator[bytes]:
            for _ in range(blocks):
                yield block

        digest = hashlib.sha256(block * blocks).hexdigest()
        async with http.post("/upload", data=body()) as answer:
            assert await answer.text() == f"{blocks * len(block)} {digest}"
        async with http.get(f"/download/{blocks << 16}") as answer:
            sizes = [len(part) async for part in answer.content.iter_any()]
            assert sum(sizes) == blocks << 16
        assert rss_mib(named.pid) - before < 32
        async with http.get("/ticks") as answer:
            assert (await answer.content.readuntil(b"\n\n"), answer.content.at_eof()) == (
                b"data: 0\n\n",
                False,
            )
        async with http.ws_connect("/socket") as socket:
            await socket.send_str("ping")
            assert await socket.receive_str(timeout=10) == "ping"
        async with http.get("/hello") as answer:
            assert await answer.text() == f"hello from {urlsplit(url).hostname}"


async def test_many_visitors_are_served_though_places_are_few(named: GatewayProcess) -> None:
    """A page asks for more at once than the sandbox carries; the rest waits its turn."""
    async with site(named, "python3 site.py") as (_, _, url), visitor(named, url) as http:

        async def ask(number: int) -> str:
            async with http.get(f"/{number}") as answer:
                return await answer.text()

        assert len(set(await asyncio.gather(*map(ask, range(100))))) == 1


HOSTILE = [
    "x" * 32,
    "0" * 32,
    "0" * 31,
    "0" * 33,
    "a.b",
    "",
    "0" * 16 + "." + "0" * 15,
    "..%2f",
    "0" * 32 + ".evil",
    "localhost",
]


@pytest.mark.parametrize("label", HOSTILE)
async def test_label_that_is_none_finds_nothing(named: GatewayProcess, label: str) -> None:
    """404, and nothing of ours, whatever the label and the path."""
    for path in ("/", "/livez", "/v1/agents"):
        async with (
            ClientSession(named.url) as http,
            http.get(path, headers={"Host": f"{label}.{PREVIEWS}:1"}) as answer,
        ):
            assert (answer.status, answer.content_type) == (404, "text/plain"), path


async def test_paths_lead_out_of_no_site(named: GatewayProcess) -> None:
    """Tricks with dots, slashes, escapes and NUL come to the site or are refused: no file beside its folder, nothing of
    ours, and nothing in the headers."""
    async with client(named.socket_url) as me:
        task_id = await me.submit(input={"files": {"index.html": "<h1>Hello</h1>"}, "commands": ["serve"]})
        ready = await me.until_event(task_id, "server_ready")
        host = urlsplit(ready["data"]["url"]).hostname
        for path in (
            *PATHS,
            "/../../../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/..%2f..%2fetc%2fpasswd",
        ):
            async with connected(named) as (reader, writer), asyncio.timeout(30):
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            assert head.split()[1] in {b"301", b"400", b"404", b"502"}, (path, head)
            assert b"root:" not in body
            assert b"application/problem+json" not in head
            assert b"X-Injected" not in head


async def test_preview_hosts_own_name_is_none_of_ours(named: GatewayProcess) -> None:
    """It serves sites below it and nothing else; a second Host is no way in either."""
    async with ClientSession(named.url) as http, http.get("/v1/agents", headers={"Host": PREVIEWS}) as answer:
        assert answer.status == 403
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(named.url).port)
    hosts = f"Host: localhost\r\nHost: {'0' * 32}.{PREVIEWS}\r\n"
    writer.write(f"GET /v1/agents HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode())
    assert b" 400 " in (await reader.readline())
    writer.close()


async def test_site_ends_with_its_task_and_never_becomes_anothers(named: GatewayProcess) -> None:
    """A cancelled task's label is gone for good, though others' sites come and go."""
    async with site(named, "python3 site.py") as (me, task_id, url):
        assert (await text_at(named, url))[0] == 200
        await me.ask("cancel_task", task_id=task_id)
        await me.until_ended(task_id)
    for _ in range(3):
        async with site(named, "serve") as (_, _, other):
            assert (await text_at(named, other))[0] == 200
            status, text = await text_at(named, url)
            assert (status, "gone" in text) == (410, True)


async def test_label_survives_a_restart_and_says_that_its_site_did_not(tmp_path: Path) -> None:
    """The embedded sandbox goes with its gateway: what is on the port then may be anybody's."""
    env = {"GATEWAY_PREVIEW_HOST": PREVIEWS}
    async with running_gateway(tmp_path / "data", env=env) as gateway, site(gateway, "serve") as (_, _, url):
        assert (await text_at(gateway, url))[0] == 200
    async with running_gateway(tmp_path / "data", env=env) as gateway:
        assert (await text_at(gateway, url))[0] == 410
