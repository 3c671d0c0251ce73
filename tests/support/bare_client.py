"""A bare client of a sandbox service: no library of ours between a test and the wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

DEADLINE_S = 20.0
ENDS = {"task_completed", "task_error"}
Frame = dict[str, Any]


class Client:
    """A bare client: sends frames, and has what comes."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def say(self, kind: str, session_id: str | None = None, **fields: Any) -> None:
        """Send a frame."""
        name = {} if session_id is None else {"session_id": session_id}
        await self._connection.send(orjson.dumps({"type": kind, **name, **fields}).decode())

    async def say_text(self, text: str) -> None:
        """Send a text as it is."""
        await self._connection.send(text)

    async def next(self) -> Frame:
        """The next frame."""
        async with asyncio.timeout(DEADLINE_S):
            frame: Frame = orjson.loads(await self._connection.recv(decode=True))
        return frame

    async def session(self, session_id: str, passing: str | None = None) -> tuple[list[Frame], Frame]:
        """The progress of a session to come, and its end.

        What comes of others is passed over, and its frames of the type `passing`.
        """
        progress: list[Frame] = []
        while True:
            frame = await self.next()
            if frame["session_id"] == session_id:
                if frame["type"] in ENDS:
                    return progress, frame
                if frame["type"] != passing:
                    assert frame["type"] == "task_progress"
                    progress.append(frame)

    async def health(self) -> Frame:
        """The answer to a health check."""
        await self.say("health_check")
        return await self.next()

    async def greet(self) -> Frame:
        """Say hello; returns the answer."""
        await self.say("hello", protocol="sandbox.v1", sessions=[])
        return await self.next()

    async def text_until_silence(self, silence_s: float) -> str:
        """The output that comes until none has come for `silence_s`."""
        text = ""
        try:
            while True:
                async with asyncio.timeout(silence_s):
                    text += text_of([await self.next()])
        except TimeoutError:
            return text

    async def nothing_before_health(self) -> None:
        """Check that no frame is left: the answer to a health check is the next."""
        assert (await self.health())["type"] == "health"


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    """A connected bare client."""
    async with connect(url, compression=None, proxy=None, max_size=None, close_timeout=1) as connection:
        yield Client(connection)


def text_of(progress: list[Frame], stream: str = "stdout") -> str:
    """What was put out."""
    parts = [frame["progress"] for frame in progress if frame["progress"]["kind"] == "output"]
    return "".join(part["text"] for part in parts if part["stream"] == stream)
