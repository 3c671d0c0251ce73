"""A task's folder as a web site, seen through the gateway."""

import asyncio
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import jwt
import pytest

from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey

SITE = {"files": {"index.html": "<h1>Hello</h1>", "deep/style.css": "h1 {}"}, "commands": ["serve"]}


async def test_served_folder_is_reached_after_its_task(gateway: GatewayProcess) -> None:
    """`serve` ends the task with a URL that any HTTP client can open, on an origin that is not the gateway's."""
    async with client(gateway.socket_url) as me:
        events = await me.until_ended(await me.submit(input=SITE))
    (ready,) = [event["data"] for event in events if event["event"] == "server_ready"]
    end = events[-1]["data"]
    assert (end["status"], end["result"]["url"], ready["scope"]) == ("completed", ready["url"], "gateway")
    assert not ready["url"].startswith(gateway.url)
    assert await asyncio.to_thread(read, ready["url"]) == "<h1>Hello</h1>"
    assert await asyncio.to_thread(read, ready["url"] + "deep/style.css") == "h1 {}"


async def test_site_goes_with_its_deleted_task(gateway: GatewayProcess) -> None:
    """Its session is closed at once then, before the next sweep; until that it stays, whoever leaves."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(input=SITE)
        url = (await me.until_ended(task_id))[-1]["data"]["result"]["url"]
    assert await asyncio.to_thread(read, url) == "<h1>Hello</h1>"
    async with client(gateway.socket_url) as me:
        assert await me.ask("delete_task", task_id=task_id) == {}

    async def is_gone() -> bool:
        try:
            await asyncio.to_thread(read, url)
        except (OSError, HTTPException):  # at once, or in the middle of an answer
            return True
        return False

    await eventually(is_gone, 3)


async def test_public_gateway_names_no_address_of_its_loopback(tmp_path: Path) -> None:
    """Where watchers are on other machines, a site on our loopback has no URL to show."""
    secret = "a secret of more than thirty-two bytes"  # noqa: S105 - this test's own
    token = jwt.encode({"sub": "alice", "scope": "tasks:read tasks:write"}, secret, "HS256")
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": secret, "GATEWAY_HOST": "0.0.0.0"}  # noqa: S104
    async with running_gateway(tmp_path / "data", env=env) as gateway:
        address = gateway.socket_url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        headers = {"Authorization": f"Bearer {token}"}
        async with client(address, additional_headers=headers) as me:
            events = await me.until_ended(await me.submit(input=SITE))
    (ready,) = [event["data"] for event in events if event["event"] == "server_ready"]
    assert (ready["url"], events[-1]["data"]["result"]["url"]) == (None, None)


def read(url: str) -> str:
    """What is there."""
    with urlopen(url, timeout=10) as answer:  # noqa: S310 - our own site
        text: str = answer.read().decode()
        return text
