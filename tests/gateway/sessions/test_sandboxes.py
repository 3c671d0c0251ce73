"""A sandbox that dials in: who is let in, what its socket carries, and when it ends; over real sockets."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
import structlog
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.principal import Principal
from gateway.server.listening import listening, set_up
from gateway.sessions import sandbox_socket
from gateway.sessions.audit import Audit
from gateway.sessions.auth import Authenticator
from gateway.sessions.client_socket import FRAMES_A_TURN
from gateway.sessions.pairing import Pairings
from gateway.sessions.sandbox_socket import SandboxTransport
from gateway.sessions.sandboxes import MAX_SOCKETS_PER_SUBJECT, SandboxEndpoint
from gateway.settings import Settings
from sandbox_bridge.errors import TransportClosed
from sandbox_bridge.protocol import MAX_FRAME_BYTES
from tests.support.raw_websocket import frame
from tests.support.stores import SqliteBackend
from tests.support.waiting import eventually, let_pass

SECRET = "a secret of more than thirty-two bytes"  # noqa: S105 - this test's own


class Bridge:
    """What an accepted sandbox meets: it says again what it hears, and keeps who came and how it ended."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bool]] = []
        self.ends: list[TransportClosed] = []
        self.is_deaf = False

    async def accept(self, transport: SandboxTransport, subject: str, is_trusted: bool) -> None:
        """Serve until the end."""
        self.came.append((subject, is_trusted))
        try:
            while self.is_deaf:
                await asyncio.Event().wait()
            while True:
                await transport.send(await transport.recv())
        except TransportClosed as error:
            self.ends.append(error)

    async def has_end(self) -> bool:
        """Whether one has ended."""
        return bool(self.ends)


@asynccontextmanager
async def door(bridge: Bridge) -> AsyncIterator[tuple[SandboxEndpoint, str]]:
    """An endpoint that wants tokens, and its address."""
    async with door_with_pairings(bridge) as (endpoint, url, _):
        yield endpoint, url


@asynccontextmanager
async def door_with_pairings(bridge: Bridge) -> AsyncIterator[tuple[SandboxEndpoint, str, Pairings]]:
    """The same, and what makes tokens for tabs."""
    settings = Settings(_env_file=None, port=0, auth="jwt", jwt_secret=SecretStr(SECRET))
    log = structlog.get_logger()
    with tempfile.TemporaryDirectory() as folder:
        async with SqliteBackend(Path(folder)).opened() as store:
            pairings = Pairings(store, settings)
            audit = Audit(None, lambda: 0, instance="i", log=log)
            known = Authenticator(settings)
            endpoint = SandboxEndpoint(known, pairings, bridge.accept, audit, settings, log=log)
            app = web.Application()
            app.router.add_get("/sandbox", endpoint.handle)
            runner = await set_up(app, close_s=1)
            async with listening(runner, settings) as (url, _):
                yield endpoint, f"{url}/sandbox", pairings
            await runner.cleanup()


def bearer(scope: str = "sandbox", **claims: Any) -> dict[str, str]:
    """The header of a token of alice's."""
    token = jwt.encode({"sub": "alice", "scope": scope, **claims}, SECRET, "HS256")
    return {"Authorization": f"Bearer {token}"}


def dialled(url: str, **options: Any) -> connect:
    """A connection of a bare client."""
    given = {"additional_headers": bearer(), "compression": None, "proxy": None, "max_size": None} | options
    return connect(url.replace("http", "ws", 1), **given)


async def close_of(socket: ClientConnection) -> int | None:
    """The code with which it is closed, whatever comes before."""
    with pytest.raises(ConnectionClosed) as caught:
        async with asyncio.timeout(20):
            while True:
                await socket.recv()
    return caught.value.rcvd.code if caught.value.rcvd is not None else None


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthorized"),
        ({"Authorization": "Bearer x"}, 401, "unauthorized"),
        (bearer("tasks:read tasks:write"), 403, "forbidden"),
        (bearer("sandbox:server"), 403, "forbidden"),
        (bearer("sandbox", tasks=["t"]), 403, "forbidden"),
    ],
)
async def test_stranger_is_refused(headers: dict[str, str], status: int, code: str) -> None:
    """By HTTP to a program; a page, which can't read that, is let in to be told by a goodbye."""
    async with door(Bridge()) as (_, url), ClientSession() as http:
        with pytest.raises(WSServerHandshakeError) as caught:
            await http.ws_connect(url, headers=headers)
        assert caught.value.status == status
        async with http.ws_connect(url, headers=headers, origin="http://a.page") as socket:
            said = orjson.loads(await socket.receive_str(timeout=10))
            assert (said["type"], said["code"], said["reconnect"]) == ("goodbye", 4000 + status, False)
            await socket.receive(timeout=10)
            assert socket.close_code == 4000 + status
        async with http.get(url) as answer:
            assert answer.status == 400


@pytest.mark.parametrize(
    ("scope", "is_trusted"), [("sandbox", False), ("sandbox sandbox:server", True), ("admin", False)]
)
async def test_trust_is_granted_by_the_token_alone(scope: str, is_trusted: bool) -> None:
    """And whose it is."""
    bridge = Bridge()
    async with door(bridge) as (_, url), dialled(url, additional_headers=bearer(scope)) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
    assert bridge.came == [("alice", is_trusted)]


async def test_token_may_come_as_a_subprotocol() -> None:
    """As from a browser, which must be given another one that it offers; the token is not echoed."""
    token = bearer()["Authorization"].removeprefix("Bearer ")
    async with door(Bridge()) as (_, url):
        for name in ("sandbox.v1", "gateway.v1"):
            offered = [f"bearer.{token}", name]
            async with dialled(url, additional_headers={}, subprotocols=offered) as socket:
                assert socket.subprotocol == name


async def test_large_frame_is_carried_and_a_larger_one_is_not() -> None:
    """A frame has a mebibyte at most, and is text."""
    bridge = Bridge()
    async with door(bridge) as (_, url):
        async with dialled(url) as socket:
            await socket.send("x" * MAX_FRAME_BYTES)
            assert len(await socket.recv()) == MAX_FRAME_BYTES
            await socket.send("x" * (MAX_FRAME_BYTES + 1))
            assert await close_of(socket) == 1009
        async with dialled(url) as socket:
            await socket.send(b"binary")
            assert await close_of(socket) == 1003
        await eventually(bridge.has_end, 10)
    assert bridge.ends[-1].code == 1003


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is judged after less than the real time."""
    monkeypatch.setattr(sandbox_socket, "SILENCE_S", 0.4)
    monkeypatch.setattr(sandbox_socket, "PING_INTERVAL_S", 0.1)


async def test_silent_sandbox_is_given_up(impatient: None) -> None:
    """One that answers pings is not."""
    bridge = Bridge()
    async with door(bridge) as (_, url), dialled(url, ping_interval=None, close_timeout=0.1) as socket:
        await let_pass(1.2)
        assert bridge.ends == []
        socket.transport.pause_reading()
        await eventually(bridge.has_end, 10)
    assert "no sign of life" in str(bridge.ends[0])


async def test_any_byte_is_a_sign_of_life(impatient: None) -> None:
    """A large frame on a thin line comes whole, though no answer to a ping can come in between."""
    bridge = Bridge()
    async with (
        door(bridge) as (_, url),
        ClientSession() as http,
        http.ws_connect(url, headers=bearer(), autoping=False) as socket,
    ):
        line = socket.get_extra_info("socket").fileno()
        os.write(line, b"\x81\x8a\0\0\0\0")  # a text of ten bytes, masked with nothing
        for byte in b"0123456789":
            await let_pass(0.15)
            os.write(line, bytes([byte]))
        async with asyncio.timeout(10):
            while (message := await socket.receive()).type is WSMsgType.PING:
                pass
        assert message.data == "0123456789"
    assert all("no sign of life" not in str(end) for end in bridge.ends)


async def test_sandbox_goes_with_its_token() -> None:
    """Its socket is closed with the code for that."""
    bridge = Bridge()
    async with (
        door(bridge) as (_, url),
        dialled(url, additional_headers=bearer(exp=time.time() + 1.5)) as socket,
    ):
        assert await close_of(socket) == 4401


async def test_sandbox_is_sent_off_when_the_server_goes() -> None:
    """With the code that says to come back; nobody new is let in meanwhile."""
    bridge = Bridge()
    async with door(bridge) as (endpoint, url), dialled(url) as socket, ClientSession() as http:
        await socket.send("x")
        await socket.recv()
        endpoint.refuse_new()
        with pytest.raises(WSServerHandshakeError) as caught:
            await http.ws_connect(url, headers=bearer())
        assert caught.value.status == 503
        closing = asyncio.get_running_loop().create_task(endpoint.send_off())
        assert await close_of(socket) == 1012
        await closing


async def test_subject_has_so_many_sandboxes() -> None:
    """One more is told to wait; another's are not counted."""
    async with door(Bridge()) as (endpoint, url), ClientSession() as http:
        endpoint._sockets["alice"] = MAX_SOCKETS_PER_SUBJECT
        with pytest.raises(WSServerHandshakeError) as caught:
            await http.ws_connect(url, headers=bearer())
        assert caught.value.status == 429
        async with http.ws_connect(url, headers=bearer(sub="bob")) as socket:
            await socket.send_str("x")
            assert await socket.receive_str(timeout=10) == "x"


# --- tabs --------------------------------------------------------------------------------------------

ALICE = Principal("alice", frozenset({"sandbox", "sandbox:server", "admin"}))


def shown(token: str) -> list[str]:
    """How a page shows a token, which can set no header."""
    return ["sandbox.v1", f"bearer.{token}"]


async def goodbye_of(http: ClientSession, url: str, token: str) -> tuple[int, str]:
    """How a page with this token is refused: the code, and why."""
    async with http.ws_connect(url, protocols=shown(token), origin="http://a.page") as socket:
        said = orjson.loads(await socket.receive_str(timeout=10))
        assert said["type"] == "goodbye"
        return said["code"], said["reason"]


async def test_tab_is_paired_once_and_comes_back_with_a_token_of_its_own() -> None:
    """Its token lets it in as its owner's, never trusted, whatever the owner may; the first one is used up."""
    bridge = Bridge()
    async with door_with_pairings(bridge) as (_, url, pairings), ClientSession() as http:
        minted = await pairings.mint(ALICE)
        async with http.ws_connect(url, protocols=shown(minted.token)) as socket:
            said = orjson.loads(await socket.receive_str(timeout=10))
            assert (said["type"], said["subject"]) == ("paired", "alice")
            assert said["runtime_url"].startswith("https://")
            await socket.receive(timeout=10)
            assert (socket.close_code, bridge.came) == (1000, [])
        for _ in range(2):
            async with http.ws_connect(url, protocols=shown(said["token"])) as socket:
                await socket.send_str("hello")
                assert await socket.receive_str(timeout=10) == "hello"
        assert bridge.came == [("alice", False)] * 2
        code, reason = await goodbye_of(http, url, minted.token)
        assert (code, "was used before" in reason) == (4401, True)


async def test_kinds_of_token_do_not_pass_for_each_other() -> None:
    """Neither opens by another's name, and nothing signed by the operator's key is one of them."""
    async with door_with_pairings(Bridge()) as (_, url, pairings), ClientSession() as http:
        minted = await pairings.mint(ALICE)
        _, own = await pairings.redeem(minted.token)
        first, second = (token.partition(".")[2] for token in (minted.token, own.token))
        operators = bearer()["Authorization"].removeprefix("Bearer ")
        for wrong in (
            f"paired.{first}",
            f"pairing.{second}",
            first,
            second,
            f"paired.{operators}",
            "pairing.",
            "paired.x",
        ):
            assert (await goodbye_of(http, url, wrong))[0] == 4401


async def test_what_a_sandbox_says_in_one_go_lets_others_in_between() -> None:
    """Its frames are there already, one behind the other: after some of them whoever else waits has a turn."""
    told, over = list[str](), asyncio.Event()

    class Slow(Bridge):
        """Hears all of them."""

        async def accept(self, transport: SandboxTransport, subject: str, is_trusted: bool) -> None:
            """See `Accept`."""
            for _ in range(3 * FRAMES_A_TURN):
                await transport.recv()
                told.append("theirs")
                asyncio.get_running_loop().call_soon(told.append, "another's")
            over.set()

    async with door(Slow()) as (_, url), dialled(url) as socket:
        socket.transport.write(frame(b"x") * (3 * FRAMES_A_TURN))
        async with asyncio.timeout(20):
            await over.wait()
    assert told.index("another's") <= FRAMES_A_TURN
