"""Sandboxes that dial in to a real gateway by `sandbox-bridge join`, and whose tasks they get."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from websockets import Subprotocol
from websockets.asyncio.client import ClientConnection, connect

from tests.support.gateway import Client, GatewayProcess, client, output_of, running_gateway
from tests.support.sandbox_process import joined
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey

SECRET = "a secret of more than thirty-two bytes"  # noqa: S105 - this test's own
ASKING = {"commands": ["echo here"], "sandbox": {"runtime": "local"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway without a sandbox of its own."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET}
    data = tmp_path_factory.mktemp("empty") / "data"
    async with running_gateway(data, "--no-local-sandbox", env=env) as made:
        yield made


def token(sub: str, scope: str = "tasks:read tasks:write") -> str:
    """A token of `sub`."""
    return jwt.encode({"sub": sub, "scope": scope}, SECRET, "HS256")


def client_of(gateway: GatewayProcess, sub: str) -> AbstractAsyncContextManager[Client]:
    """A client that is `sub`."""
    return client(gateway.socket_url, additional_headers={"Authorization": f"Bearer {token(sub)}"})


async def status_of(me: Client, task_id: str) -> str:
    """What a task's row says."""
    return str((await me.ask("get_task", task_id=task_id))["task"]["status"])


async def test_clients_sandbox_is_for_its_own_tasks_that_ask(empty: GatewayProcess) -> None:
    """Another's task, or one that does not ask, is not given to it, though it has room."""
    async with client_of(empty, "alice") as alice, client_of(empty, "bob") as bob:
        bobs = await bob.submit(input=ASKING)
        plain = await alice.submit("echo never")
        own = await alice.submit(input=ASKING)
        async with joined(empty.url, token("alice", "sandbox")):
            events = await alice.until_ended(own)
            assert output_of(events) == "here\n"
            again = await alice.submit(input=ASKING)
            await alice.until_ended(again)
            assert [await status_of(bob, bobs), await status_of(alice, plain)] == ["pending", "pending"]
        for me, task_id in ((bob, bobs), (alice, plain)):
            await me.ask("cancel_task", task_id=task_id)
            await me.until_ended(task_id)


async def test_trusted_sandbox_is_for_everybody(empty: GatewayProcess) -> None:
    """With `sandbox:server` it is one of the operator's."""
    async with joined(empty.url, token("fleet", "sandbox sandbox:server")), client_of(empty, "bob") as bob:
        task_id = await bob.submit("echo fine")
        assert output_of(await bob.until_ended(task_id)) == "fine\n"


async def test_token_without_the_scope_is_told(empty: GatewayProcess) -> None:
    """The process ends, and says which scope it lacks."""
    async with joined(empty.url, token("alice")) as process:
        async with asyncio.timeout(20):
            assert await process.wait() == 4


async def test_browser_like_sandbox_works_and_shows_its_own_site(empty: GatewayProcess) -> None:
    """Any peer of the protocol will do; its site is for the browser that it is, and is passed on if it is http(s)."""
    hello = {
        "type": "hello",
        "protocol": "sandbox.v1",
        "sandbox_id": "tab",
        "boot_id": "b",
        "max_sessions": 1,
    }
    offered = [Subprotocol(f"bearer.{token('carol', 'sandbox')}"), Subprotocol("sandbox.v1")]
    url = empty.url.replace("http", "ws", 1) + "/sandbox"
    async with client_of(empty, "carol") as me, connect(url, subprotocols=offered, proxy=None) as tab:
        await tab.send(json.dumps(hello | {"runtime": "webcontainer", "capabilities": ["serve"]}))
        assert (await heard(tab, "hello"))["protocol"] == "sandbox.v1"
        await eventually(lambda: sees(empty, "carol", ["tab"]), 20)
        assert await sees(empty, "dave", [])
        for site, shown in (("https://tab.example/", "https://tab.example/"), ("javascript:alert(1)", None)):
            asking = {"commands": ["npm start"], "sandbox": {"runtime": "webcontainer"}}
            task_id = await me.submit(input=asking)
            session_id = (await heard(tab, "stream_task"))["session_id"]
            ready = {"kind": "server_ready", "port": 3000, "url": site, "scope": "gateway"}
            progress = {"type": "task_progress", "session_id": session_id, "seq": 1, "progress": ready}
            await tab.send(json.dumps(progress))
            result = {"status": "completed", "exit_code": 0, "url": site, "commands": [], "files": []}
            end = {"type": "task_completed", "session_id": session_id, "seq": 2, "result": result}
            await tab.send(json.dumps(end))
            events = await me.until_ended(task_id)
            (told,) = [event["data"] for event in events if event["event"] == "server_ready"]
            assert (told["url"], told["scope"]) == (shown, "browser")
            said = events[-1]["data"]["result"]
            assert (said["url"], said["trust"]) == (shown, "client")


async def heard(tab: ClientConnection, kind: str) -> dict[str, Any]:
    """The next frame of that type that a sandbox is sent."""
    async with asyncio.timeout(20):
        while True:
            frame: dict[str, Any] = json.loads(await tab.recv())
            if frame["type"] == kind:
                return frame


async def sees(gateway: GatewayProcess, sub: str, ids: list[str]) -> bool:
    """Whether these are the sandboxes that `sub` is shown."""
    headers = {"Authorization": f"Bearer {token(sub)}"}
    async with ClientSession(gateway.url) as http, http.get("/v1/sandboxes", headers=headers) as answer:
        return [one["sandbox_id"] for one in (await answer.json())["sandboxes"]] == ids
