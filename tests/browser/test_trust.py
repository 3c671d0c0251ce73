"""What a viewer's machine made, as the page shows it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, expect
from websockets import Subprotocol
from websockets.asyncio.client import ClientConnection, connect

from tests.support.gateway import client
from tests.support.http_calls import bearer, token
from tests.support.pages import ended, watched_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

HELLO = {
    "type": "hello",
    "protocol": "sandbox.v1",
    "sandbox_id": "tab",
    "boot_id": "b",
    "max_sessions": 1,
    "runtime": "webcontainer",
    "isolation": {"tier": "bwrap", "trust": "server"},
    "capabilities": ["serve"],
}
"""It lies."""


@asynccontextmanager
async def tab(url: str) -> AsyncIterator[ClientConnection]:
    """A peer that dials in as a browser's tab does."""
    offered = [Subprotocol(f"bearer.{token('tabitha', 'sandbox')}"), Subprotocol("sandbox.v1")]
    async with connect(url.replace("http", "ws", 1) + "/sandbox", subprotocols=offered, proxy=None) as socket:
        await socket.send(json.dumps(HELLO))
        yield socket


async def works(socket: ClientConnection) -> None:
    """Take the next task, and say that it is done."""
    while (frame := json.loads(await socket.recv()))["type"] != "stream_task":
        pass
    result: dict[str, Any] = {"status": "completed", "exit_code": 0, "url": "https://tab.example/"}
    result |= {"commands": [], "files": [], "trust": "server"}
    end = {"type": "task_completed", "session_id": frame["session_id"], "seq": 1, "result": result}
    await socket.send(json.dumps(end))


async def test_what_a_viewers_machine_made_is_said_to_be(browser: Browser, guarded_url: str) -> None:
    """The sandbox, its task and its result are marked, whatever the sandbox says of itself."""
    asking = {"commands": ["npm test"], "sandbox": {"runtime": "webcontainer"}}
    headers = bearer("tabitha")
    async with (
        tab(guarded_url) as socket,
        client(guarded_url.replace("http", "ws") + "/ws", additional_headers=headers) as me,
        watched_page(browser, f"{guarded_url}/#/sandboxes&token={token('tabitha')}") as page,
    ):
        await expect(page.get_by_text("on tabitha's own machine")).to_have_count(1)
        task_id = await me.submit(input=asking)
        await page.goto(f"{guarded_url}/#/tasks/{task_id}")
        await expect(page.get_by_role("article").get_by_text("on tabitha's own machine")).to_be_visible()
        await works(socket)
        await ended(page)
    async with watched_page(browser, f"{guarded_url}/#/tasks/{task_id}&token={token('tabitha')}") as page:
        await ended(page)
        await expect(page.get_by_text("on tabitha's own machine")).to_be_visible()
