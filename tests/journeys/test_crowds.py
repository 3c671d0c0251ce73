"""Many connections of one address: too many are refused by the contract's words, and others don't notice."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from gateway.server.connections.address_limits import WAITING
from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.hostile_frames import FROM_SANDBOX
from tests.support.http_calls import SECRET, as_client, bearer, call, refused, session
from tests.support.raw_websocket import (
    CLOSE,
    WITHIN_S,
    Door,
    RawClient,
    frame,
    handshake,
    is_over,
    raw_client,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey

LIMIT: Final = 3
HELLO: Final = FROM_SANDBOX[-1] | {"max_sessions": 0}
BAD: Final = 18
"""Bad frames that end no connection yet."""
GET: Final = b"GET /v1/tasks HTTP/1.1\r\nHost: localhost\r\n"


@asynccontextmanager
async def from_address(gateway: GatewayProcess, address: str) -> AsyncIterator[RawClient]:
    """A connection from another address of this machine, on which nothing has been said."""
    url = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, local_addr=(address, 0))
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


async def asked(gateway: GatewayProcess, address: str, *, forwarded: str = "") -> tuple[int, str]:
    """The status that `address` gets over a connection of its own, 0 where it is cut off, and the whole answer."""
    more = f"X-Forwarded-For: {forwarded}\r\n".encode() if forwarded else b""
    async with from_address(gateway, address) as peer, asyncio.timeout(WITHIN_S):
        await peer.send(GET + more + b"Connection: close\r\n\r\n")
        try:
            answer = (await peer.reader.read()).decode()
        except ConnectionError:
            return 0, ""
    return int((answer.split() or ["", "0"])[1]), answer


async def test_address_with_too_many_connections_is_refused(tmp_path: Path) -> None:
    """Silent sockets count from their first moment. The next are told 429, or 1013 where a browser asks, far too many
    are cut off unheard; another address is served, and this one again when its sockets have gone. Then it opens as many
    sockets as it may, one after the other, and is refused the next."""
    env = {"GATEWAY_MAX_CONNECTIONS_PER_ADDRESS": str(LIMIT), "GATEWAY_HANDSHAKES_PER_S": "0.01"}
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        async with AsyncExitStack() as held:
            for _ in range(LIMIT):
                await held.enter_async_context(from_address(gateway, "127.0.0.2"))
            status, answer = await asked(gateway, "127.0.0.2")
            assert status == 429
            assert "Retry-After: 5\r\n" in answer
            assert json.loads(answer.partition("\r\n\r\n")[2])["code"] == "rate_limited"
            await _is_told_by_goodbye(gateway)
            assert (await asked(gateway, "127.0.0.3"))[0] == 200
            async with client(gateway.socket_url) as honest:
                await _are_cut_off(gateway, held)
                assert "time" in await honest.ask("ping")

        async def is_served() -> bool:
            return (await asked(gateway, "127.0.0.2"))[0] == 200

        await eventually(is_served)
        said = [await _shakes_hands(gateway, "127.0.0.2") for _ in range(LIMIT + 1)]
        assert [one.split()[1] for one in said] == ["101"] * LIMIT + ["429"]
        assert "Retry-After: 5\r\n" in said[-1]
        assert (await _shakes_hands(gateway, "127.0.0.3")).startswith("HTTP/1.1 101 ")
        assert (await asked(gateway, "127.0.0.2"))[0] == 200
        for _ in range(LIMIT):
            await _is_not_understood(gateway, "127.0.0.4")
        assert (await _shakes_hands(gateway, "127.0.0.4")).startswith("HTTP/1.1 429 ")


async def _shakes_hands(gateway: GatewayProcess, address: str) -> str:
    """The head of the answer to a handshake from there."""
    async with from_address(gateway, address) as peer, asyncio.timeout(WITHIN_S):
        await peer.send(handshake(gateway.url))
        return (await peer.reader.readuntil(b"\r\n\r\n")).decode()


async def _is_not_understood(gateway: GatewayProcess, address: str) -> None:
    """Somebody from there says what can't be read as HTTP."""
    async with from_address(gateway, address) as peer, asyncio.timeout(WITHIN_S):
        await peer.send(b"\xff\xfe\xfd\r\n\r\n")
        assert (await peer.reader.readuntil(b"\r\n\r\n")).split()[1] == b"400"


async def _is_told_by_goodbye(gateway: GatewayProcess) -> None:
    async with from_address(gateway, "127.0.0.2") as browser, asyncio.timeout(WITHIN_S):
        await browser.send(handshake(gateway.url, {"Origin": gateway.url}))
        assert (await browser.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        ended, goodbye = await browser.end()
        assert goodbye is not None
        assert (ended, goodbye["code"], goodbye["reconnect"]) == (1013, 1013, True)


async def _are_cut_off(gateway: GatewayProcess, held: AsyncExitStack) -> None:
    """Of so many more of it some are hung up on, without a word and a deadline."""
    more = [await held.enter_async_context(from_address(gateway, "127.0.0.2")) for _ in range(WAITING + 1)]
    async with asyncio.timeout(5):  # long before the deadline for headers
        ended = [asyncio.ensure_future(is_over(peer.reader)) for peer in more]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    assert any(task.done() for task in ended)
    for task in ended:
        task.cancel()


async def test_one_address_is_read_no_faster_than_its_pace(tmp_path: Path) -> None:
    """Over however many sockets: a crowd of one address, or of one behind a proxy, waits, and each of its frames has
    its answer. So has each request by HTTP, and a sandbox is heard no faster."""
    env = {
        "GATEWAY_REQUESTS_PER_S": "30",
        "GATEWAY_REQUEST_BURST": "2",
        "GATEWAY_TRUSTED_PROXIES": "127.0.0.1",
    }
    async with (
        running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway,
        AsyncExitStack() as held,
    ):

        async def takes_s(said: bytes, code: str, *crowd: RawClient) -> float:
            """Until all of them have all of their answers."""
            began = asyncio.get_running_loop().time()
            for one in crowd:
                await one.send(said)
            for answers in await asyncio.gather(*(one.answers(BAD) for one in crowd)):
                assert {answer["code"] for answer in answers} == {code}
            return asyncio.get_running_loop().time() - began

        bad = frame(b"{}") * BAD
        direct = [
            await held.enter_async_context(raw_client(Door(gateway.url, "127.0.0.2"))) for _ in range(10)
        ]
        behind = {"X-Forwarded-For": "203.0.113.1"}
        others = [await held.enter_async_context(raw_client(gateway, **behind)) for _ in range(10)]
        took = await asyncio.gather(*(takes_s(bad, "bad_frame", *crowd) for crowd in (direct, others)))
        # Of 180 frames 20 are its burst, and 10 are answered before they are waited for; 300 are read in a second.
        assert min(took) >= 150 / 300
        began = asyncio.get_running_loop().time()
        async with from_address(gateway, "127.0.0.5") as peer, asyncio.timeout(WITHIN_S):
            await peer.send(
                b"GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n" * 99 + GET + b"Connection: close\r\n\r\n"
            )
            assert (await peer.reader.read()).count(b"HTTP/1.1 404 ") == 99
        assert asyncio.get_running_loop().time() - began >= 79 / 300
        async with from_address(gateway, "127.0.0.6") as sandbox, asyncio.timeout(WITHIN_S):
            await sandbox.send(handshake(gateway.url, line="GET /sandbox HTTP/1.1"))
            await sandbox.reader.readuntil(b"\r\n\r\n")
            began = asyncio.get_running_loop().time()
            said = [HELLO, *[FROM_SANDBOX[4]] * 100]
            await sandbox.send(
                b"".join(frame(json.dumps(one).encode()) for one in said) + frame(b"\x03\xe8", CLOSE)
            )
            await sandbox.is_cut_off()
        assert asyncio.get_running_loop().time() - began >= 79 / 300


async def test_only_a_trusted_proxy_says_for_whom_it_asks(tmp_path: Path) -> None:
    """Behind one, clients are counted each by what it says last; who is none can't get out of its own count by words,
    nor put anybody else into his."""
    env = {"GATEWAY_MAX_CONNECTIONS_PER_ADDRESS": "1", "GATEWAY_TRUSTED_PROXIES": "127.0.0.1"}
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        alice = {"X-Forwarded-For": "203.0.113.1"}
        async with client(gateway.socket_url, additional_headers=alice):
            spoofed = "198.51.100.1, 203.0.113.1"
            assert (await asked(gateway, "127.0.0.1", forwarded=spoofed))[0] == 429
            assert (await asked(gateway, "127.0.0.1", forwarded="203.0.113.2"))[0] == 200
            assert (await asked(gateway, "127.0.0.1"))[0] == 200
            assert (await asked(gateway, "127.0.0.2", forwarded="203.0.113.1"))[0] == 200
            async with from_address(gateway, "127.0.0.2"):
                assert (await asked(gateway, "127.0.0.2", forwarded="203.0.113.3"))[0] == 429


async def test_subject_with_too_much_gets_no_more(tmp_path: Path) -> None:
    """Beyond its queue, and beyond what it may store, a submit is `overloaded` by socket and 503 by HTTP, an upload
    before its files; what runs goes on, others submit, and it may again when it has deleted some."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET}
    env |= {"GATEWAY_MAX_QUEUED_PER_SUBJECT": "2", "GATEWAY_MAX_STORED_BYTES_PER_SUBJECT": "100000"}
    async with (
        running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway,
        as_client(gateway, "alice") as alice,
        as_client(gateway, "bob") as bob,
        session(gateway, bearer("alice")) as http,
    ):
        waiting = [await alice.submit("true", mode="background") for _ in range(2)]
        for _ in range(2):
            answer = await alice.ask("submit_task")
            assert (answer["code"], answer["retryable"]) == ("overloaded", True)
            assert answer["details"]["retry_after_ms"] == 5000
        reply = await call(http, "POST", "/v1/tasks", json={"mode": "background"})
        assert (refused(reply, 503, "overloaded")["retryable"], reply.headers["Retry-After"]) == (True, "5")
        large = await bob.submit("true", mode="background", input={"files": {"a": "x" * 100_000}})
        assert (await alice.ask("cancel_task", task_id=waiting[0]))["task"]["status"] == "cancelled"

        async def has_room(me: Client) -> bool:
            answer = await me.ask("submit_task", mode="background")
            if "task" in answer:
                await me.ask("cancel_task", task_id=answer["task"]["task_id"])
            return "task" in answer

        async def has_stored_too_much(me: Client) -> bool:
            answer = await me.ask("submit_task", mode="background")
            if "task" in answer:
                await me.ask("cancel_task", task_id=answer["task"]["task_id"])
            return "are stored" in answer.get("message", "")

        await eventually(lambda: has_room(alice))
        await eventually(lambda: has_stored_too_much(bob))
        await bob.ask("cancel_task", task_id=large)
        await bob.ask("delete_task", task_id=large)
        await eventually(lambda: has_room(bob))
