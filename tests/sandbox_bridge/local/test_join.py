"""`sandbox-bridge join`: the real process dials in to a door, and runs what it is given there."""

import asyncio
import contextlib
import http
import random
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from sandbox_bridge.bridge import Bridge
from sandbox_bridge.errors import SandboxLost
from sandbox_bridge.listener import Listener
from sandbox_bridge.local.join import door_of
from sandbox_bridge.pool import Pool, Want
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import failure_of, next_within, outputs, until
from tests.support.fake_sandbox import ServerSocket
from tests.support.sandbox_process import joined

TOKEN = "a-token-for-sandboxes"  # noqa: S105 -- of a door on loopback, for a moment


class Door:
    """What a gateway has at `/sandbox`."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.listener = Listener(self.pool, on_change=lambda: None, random=random.Random(1))
        self.sockets: list[ServerConnection] = []
        self.port = 0

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Who may come in."""
        if request.path != "/sandbox":
            return connection.respond(http.HTTPStatus.NOT_FOUND, "not here\n")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "token needed\n")
        return None

    async def handle(self, connection: ServerConnection) -> None:
        """Have it work for alice."""
        self.sockets.append(connection)
        await self.listener.accept(ServerSocket(connection), subject="alice", trust="client")

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Let sandboxes in; gives the address."""
        async with serve(
            self.handle, "127.0.0.1", self.port, process_request=self.check, ping_interval=None
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{self.port}"

    async def breaks(self) -> None:
        """Break the newest connection, and wait for the next."""
        count = len(self.sockets)
        self.sockets[-1].transport.abort()
        await until(lambda: len(self.sockets) > count, within_s=10)

    async def guest(self) -> Bridge:
        """The sandbox, once it is there."""
        await until(lambda: self.pool.choose(Want(subject="alice")) is not None, within_s=20)
        bridge = self.pool.choose(Want(subject="alice"))
        assert bridge is not None
        return bridge


async def test_joined_sandbox_runs_tasks_and_ends_with_its_parent() -> None:
    """It says hello, works like one that was dialled, and leaves nothing behind."""
    door = Door()
    async with door.open() as url:
        async with joined(url, TOKEN) as process:
            bridge = await door.guest()
            assert bridge.info is not None
            assert (bridge.info.runtime, bridge.info.trust) == ("local", "client")
            async with bridge.open("s1", TaskSpec(files={"f": "x"}, commands=["cat f", "echo y"])) as session:
                assert await outputs(session) == "xy\n"
            assert process.stdout is not None
            assert (
                await process.stdout.readline()
                == f"sandbox joined ws://127.0.0.1:{door.port}/sandbox\n".encode()
            )
        assert process.returncode == 0
        await until(lambda: not door.pool.bridges)


async def test_joined_sandbox_comes_back_and_goes_on() -> None:
    """A socket that breaks costs the session nothing, twice."""
    door = Door()
    lines = "".join(f"{number}\n" for number in range(1, 31))
    async with door.open() as url, joined(url, TOKEN):
        bridge = await door.guest()
        spec = TaskSpec(commands=["for i in $(seq 30); do echo $i; sleep 0.05; done"])
        async with bridge.open("s1", spec) as session:
            for _ in range(2):
                assert await next_within(session, 5) is not None
                await door.breaks()
            text = await outputs(session)
        assert lines.endswith(text)
        assert text.count("\n") > 15


async def test_sandbox_that_ended_has_lost_its_sessions() -> None:
    """Killed, it does not come back, and its sessions are lost after their 8 s."""
    door = Door()
    async with door.open() as url, joined(url, TOKEN) as process:
        bridge = await door.guest()
        async with bridge.open("s1", TaskSpec(commands=["sleep 1000"])) as session:
            await anext(session)
            process.kill()
            assert isinstance(await failure_of(session), SandboxLost)


@pytest.mark.parametrize(
    ("path", "token", "words"), [("", "another", "--scope sandbox"), ("/elsewhere", TOKEN, "is it a gateway")]
)
async def test_refusal_says_what_to_do(path: str, token: str, words: str) -> None:
    """A door that will never open ends the process with a line that helps."""
    door = Door()
    async with door.open() as url, joined(url + path, token) as process:
        assert process.stderr is not None
        async with asyncio.timeout(20):
            said = await process.stderr.read()
            assert await process.wait() == 4
        assert words in said.decode().splitlines()[-1]


async def test_door_that_is_not_there_yet_is_tried_again() -> None:
    """A gateway may start after its sandboxes; the log says what is missing."""
    door = Door()
    async with door.open():
        """It has a port."""
    async with joined(f"http://127.0.0.1:{door.port}", TOKEN) as process:
        assert process.stderr is not None
        async with asyncio.timeout(20):
            while b"join_failed" not in await process.stderr.readline():
                """Until it has tried."""
        async with door.open():
            await door.guest()


@pytest.mark.parametrize(
    ("url", "door"),
    [
        ("https://gateway.example", "wss://gateway.example/sandbox"),
        ("http://localhost:8080/", "ws://localhost:8080/sandbox"),
        ("ws://[::1]:8080/base/sandbox", "ws://[::1]:8080/base/sandbox"),
        ("gateway.example", None),
        ("ftp://gateway.example", None),
        ("https://gateway.example/sandbox?token=x", None),
        ("https://me:secret@gateway.example", None),
    ],
)
def test_door_is_found_from_the_gateways_address(url: str, door: str | None) -> None:
    """An address as people have it will do; one with a secret in it will not."""
    if door is None:
        with pytest.raises(ValueError, match="gateway"):
            door_of(url)
    else:
        assert door_of(url) == door
