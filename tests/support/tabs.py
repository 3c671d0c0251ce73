"""A browser's tab as a sandbox, as its tests use it."""

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from aiohttp import ClientSession
from playwright.async_api import Browser, BrowserContext, Frame, Page, expect

from tests.support.gateway import Client, GatewayProcess, client
from tests.support.http_calls import SECRET

ASKING: Final = {"sandbox": {"runtime": "webcontainer"}}
"""What an input says that wants a tab."""


def token(sub: str = "alice", scope: str = "tasks:read tasks:write sandbox", **claims: Any) -> str:
    """A token of `sub`, good for an hour."""
    body = {"sub": sub, "scope": scope, "exp": int(time.time()) + 3600, **claims}
    return jwt.encode(body, SECRET, algorithm="HS256")


async def link_for(url: str, sub: str = "alice", **claims: Any) -> str:
    """A link that makes a tab a sandbox of `sub`'s, once; it is made by a token with these claims."""
    headers = {"Authorization": f"Bearer {token(sub, **claims)}"}
    async with ClientSession(url) as http, http.post("/v1/pairings", headers=headers) as answer:
        assert answer.status == 201
        return url + str((await answer.json())["path"])


async def got(gateway: GatewayProcess, path: str, bearer: str) -> tuple[int, bytes]:
    """What HTTP answers to who shows this token: the status and the body."""
    headers = {"Authorization": f"Bearer {bearer}"}
    async with ClientSession(gateway.url, headers=headers) as http, http.get(path) as answer:
        return answer.status, await answer.read()


def client_of(gateway: GatewayProcess, sub: str = "alice") -> AbstractAsyncContextManager[Client]:
    """A client that is `sub`."""
    return client(gateway.socket_url, additional_headers={"Authorization": f"Bearer {token(sub)}"})


def revoked_in(folder: Path) -> Path:
    """The file that says which tokens are good no more."""
    return folder / "revoked"


@dataclass
class Tab:
    """A tab at `/sandbox-tab`."""

    page: Page

    @property
    def owner_token(self) -> str:
        """A token of whose sandbox it is."""
        return token()

    async def agree(self) -> None:
        """Press the button that lets tasks run here."""
        await self.page.get_by_role("button", name="Run tasks of").click()

    @property
    def runtime(self) -> Frame:
        """Where its runtime is, whose inside is `kernel`."""
        return next(frame for frame in self.page.frames if "/headless" in frame.url)

    async def has_nothing_running(self) -> bool:
        """Whether no process runs in its runtime."""
        return bool(await self.runtime.evaluate("kernel.running === 0"))

    async def is_in(self, phase: str) -> None:
        """Wait until it says that it is in `phase`."""
        await expect(self.page.get_by_test_id("phase")).to_have_attribute("data-phase", phase)


@asynccontextmanager
async def opened(where: Browser | BrowserContext, link: str) -> AsyncIterator[Tab]:
    """A tab opened by `link`."""
    page = await where.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(link)
    try:
        yield Tab(page)
    finally:
        await page.close()
    assert complaints == []


@asynccontextmanager
async def serving(where: Browser | BrowserContext, link: str) -> AsyncIterator[Tab]:
    """A tab opened by `link` that waits for tasks."""
    async with opened(where, link) as tab:
        await tab.agree()
        await tab.is_in("waiting")
        yield tab


async def submitted(me: Client, *commands: Any, **fields: Any) -> str:
    """A task for a tab; `fields` are of its input."""
    return await me.submit(input={"commands": list(commands), **ASKING, **fields})


def kinds_of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The data of the events of one kind."""
    return [event["data"] for event in events if event["event"] == kind]
