"""A gateway's end of `/sandbox`, played by the test: it sees each frame of a tab and says what comes next."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from playwright.async_api import Browser, WebSocketRoute

from tests.support.tabs import Tab, opened

WAIT_S: Final = 20.0


class PlayedBridge:
    """What came over the tab's sockets, the newest of which is spoken over."""

    def __init__(self, runtime_url: str) -> None:
        self._runtime_url = runtime_url
        self._frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._socket: WebSocketRoute | None = None
        self.is_away = False
        """New sockets are closed at once."""
        self.refused = 0
        """How many were."""
        self.seen: list[dict[str, Any]] = []

    async def take(self, socket: WebSocketRoute) -> None:
        """A socket of the tab's: the first is for its pairing."""
        if self.is_away:
            await socket.close(code=1001)
            self.refused += 1
        elif self._socket is None:
            said = {"token": "paired.x", "subject": "alice", "expires_at": None, "runtime_key": None}
            self._socket = socket
            socket.send(json.dumps({"type": "paired", "runtime_url": self._runtime_url, **said}))
        else:
            self._socket = socket
            socket.on_message(lambda text: self._frames.put_nowait(json.loads(text)))

    @property
    def has_word(self) -> bool:
        """Whether there is a frame to hear."""
        return not self._frames.empty()

    def say(self, kind: str, session_id: str | None = None, **fields: Any) -> None:
        """Send a frame."""
        assert self._socket is not None
        about = {} if session_id is None else {"session_id": session_id}
        self._socket.send(json.dumps({"type": kind, **about, **fields}))

    def greet(self, *orders: dict[str, Any]) -> None:
        """Return the hello."""
        self.say("hello", protocol="sandbox.v1", sessions=list(orders))

    async def hear(self) -> dict[str, Any]:
        """The next frame."""
        async with asyncio.timeout(WAIT_S):
            frame = await self._frames.get()
        self.seen.append(frame)
        return frame

    async def until(self, kind: str, session_id: str | None = None) -> list[dict[str, Any]]:
        """What comes, up to a frame of that type."""
        frames = [await self.hear()]
        while frames[-1]["type"] != kind or (session_id or frames[-1].get("session_id")) != frames[-1].get(
            "session_id"
        ):
            frames.append(await self.hear())
        return frames

    async def end_of(self, session_id: str) -> dict[str, Any]:
        """The end of a session, whichever it is."""
        while True:
            frame = await self.hear()
            if frame["type"] in {"task_completed", "task_error"} and frame["session_id"] == session_id:
                return frame

    async def drop(self) -> None:
        """Close the socket as a network that breaks does."""
        assert self._socket is not None
        await self._socket.close(code=1001)

    def send_file(self, session_id: str, path: str, data: bytes, *, piece: int) -> None:
        """Send a file ahead of its task."""
        for offset in range(0, len(data), piece):
            text = base64.b64encode(data[offset : offset + piece]).decode()
            last = offset + piece >= len(data)
            self.say("file_chunk", session_id, path=path, offset=offset, base64=text, last=last)


@asynccontextmanager
async def met(browser: Browser, page_url: str, runtime_url: str) -> AsyncIterator[tuple[PlayedBridge, Tab]]:
    """A tab that has been paired and agreed to, and has said hello to a bridge that the test plays."""
    context = await browser.new_context()
    bridge = PlayedBridge(runtime_url)
    await context.route_web_socket("**/sandbox", bridge.take)
    async with opened(context, f"{page_url}/sandbox-tab#pairing.played") as tab:
        await tab.agree()
        yield bridge, tab
    await context.close()
