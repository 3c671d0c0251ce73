"""A process of clients that subscribe, and stop reading their sockets when told to: `python -m` this.

Configuration: `url`, `task_ids` (one client for each mention), `receive_bytes` of each socket's buffer, and `keep`, a
folder for the whole history of one reader of each task.
"""

import asyncio
import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.support.history import FINAL
from tests.support.puppets import order, say

TOGETHER = 50
"""Handshakes under way at once."""


class Reader:
    """One client of one task: checks the order itself, and has a digest of all that came."""

    def __init__(self, task_id: str, *, keeps: bool) -> None:
        self.task_id = task_id
        self.count = 0
        self.problem: str | None = None
        self.kept: list[str] | None = [] if keeps else None
        self._digest = hashlib.sha256()

    async def subscribe(self, session: aiohttp.ClientSession, url: str) -> None:
        """Connect and subscribe from the first event."""
        self._socket = await session.ws_connect(url, protocols=["gateway.v1"], max_msg_size=0, autoping=True)
        await self._socket.receive_json()
        await self._socket.send_json({"type": "subscribe", "id": "1", "task_id": self.task_id})
        answer = await self._socket.receive_json()
        if answer["type"] != "result":
            raise AssertionError(f"subscribe: {answer}")

    async def read(self, may: asyncio.Event) -> None:
        """Read to the task's last event, while it may."""
        while True:
            await may.wait()
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                self.problem = (
                    f"after {self.count} events came {message.type.name} {message.data} {message.extra}"
                )
                return
            if self._take(message.data):
                await self._socket.close()
                return

    def _take(self, text: str) -> bool:
        event = orjson.loads(text)
        self.count += 1
        if event.get("seq") != self.count and self.problem is None:
            self.problem = f"{text[:200]} came where event {self.count} was due"
        self._digest.update(text.encode() + b"\n")
        if self.kept is not None:
            self.kept.append(text)
        return event.get("event") == "status" and event["data"]["status"] in FINAL

    @property
    def report(self) -> dict[str, Any]:
        """What it saw, in short."""
        return {
            "task_id": self.task_id,
            "count": self.count,
            "digest": self._digest.hexdigest(),
            "problem": self.problem,
        }


async def main() -> None:
    """Lead the readers from the first line to the report."""
    config = json.loads(await order())
    task_ids: list[str] = config["task_ids"]
    kept = {task_id: index for index, task_id in reversed(list(enumerate(task_ids)))}
    readers = [Reader(task_id, keeps=kept[task_id] == index) for index, task_id in enumerate(task_ids)]

    def small_socket(info: Any) -> socket.socket:
        made = socket.socket(info[0], info[1], info[2])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, config["receive_bytes"])
        return made

    connector = aiohttp.TCPConnector(limit=0, socket_factory=small_socket)
    async with aiohttp.ClientSession(connector=connector) as session:
        gate = asyncio.Semaphore(TOGETHER)

        async def subscribe(reader: Reader) -> None:
            async with gate:
                await reader.subscribe(session, config["url"])

        await asyncio.gather(*(subscribe(reader) for reader in readers))
        say("subscribed")
        may = asyncio.Event()
        may.set()
        reading = asyncio.gather(*(reader.read(may) for reader in readers))
        await _obey(may)
        await reading
    _keep(readers, Path(config["keep"]))
    say("read", [reader.report for reader in readers])
    await order()


async def _obey(may: asyncio.Event) -> None:
    while (told := await order()) == "stop":
        may.clear()
        say("stopped")
        await order()
        may.set()
        say("reading")
    if told != "finish":
        raise AssertionError(f"what is {told!r}?")


def _keep(readers: list[Reader], folder: Path) -> None:
    for reader in readers:
        if reader.kept is not None:
            (folder / f"{reader.task_id}.jsonl").write_text("\n".join(reader.kept))


if __name__ == "__main__":
    asyncio.run(main())
