"""Visitors of sites, who know nothing but an address."""

import asyncio
import http.client
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.sandbox_bridge.local.service import Peer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a site said."""

    status: int
    kind: str | None
    body: bytes


def get(url: str) -> Answer:
    """Ask a site. Raises OSError where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - a test's own site
            return Answer(response.status, response.headers["Content-Type"], response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers["Content-Type"], error.read())


def is_up(url: str) -> bool:
    """Whether somebody answers there, and to the end: a site that goes may be cut in the middle of an answer."""
    try:
        return get(url).status > 0
    except (OSError, http.client.HTTPException):
        return False


def listens(url: str) -> bool:
    """Whether there is a door at all, found without knocking."""
    wanted = f"0100007F:{urlsplit(url).port:04X} 00000000:0000 0A"
    return wanted in Path("/proc/net/tcp").read_text("ascii")


async def site(peer: Peer, *, session_id: str = "s", **files: str) -> str:
    """The address of a new site that stays."""
    frames = await peer.run("serve", session_id=session_id, files=files or {"index.html": session_id})
    assert frames[-1]["type"] == "task_completed", frames[-1]
    url: str = frames[-1]["result"]["url"]
    return url


async def close(peer: Peer, session_id: str = "s") -> None:
    """Close a session."""
    await peer.send({"type": "close_session", "session_id": session_id})


@asynccontextmanager
async def visit(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A plain connection to a site."""
    parts = urlsplit(url)
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether the other side hangs up without a word."""
    try:
        async with asyncio.timeout(5):
            return await reader.read(1) == b""
    except ConnectionResetError:
        return True
