"""Messages that begin and never end."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.sessions import endpoint
from tests.support.gateway import client
from tests.support.in_process import serving
from tests.support.raw_websocket import TEXT, Door, RawClient, raw_client, request
from tests.support.waiting import eventually

SIZE = 1 << 20
MESSAGE = b"\x81\xff" + SIZE.to_bytes(8, "big") + bytes(4) + request("late", size=SIZE)
KEPT_BACK = 100


async def told(peer: RawClient) -> str:
    """The kind of the first message that comes."""
    while True:
        opcode, payload = await peer.read()
        if opcode == TEXT:
            kind: str = json.loads(payload)["type"]
            return kind


async def test_too_much_that_has_not_ended_is_shed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message may be as large as a frame, a thousand that are under way at once may not: who has most is told 1013,
    until there is room. Who has little notices nothing, and who was let goes on and has its answer."""
    monkeypatch.setattr(endpoint, "MAX_UNFINISHED_BYTES", 300 * SIZE)
    async with AsyncExitStack() as held:
        url = await held.enter_async_context(serving(tmp_path / "data", heartbeat_ms=1000))
        honest = await held.enter_async_context(client(url.replace("http", "ws", 1) + "/ws"))
        many = [await held.enter_async_context(raw_client(Door(url))) for _ in range(5)]
        for one in many:
            await one.send(MESSAGE[:-KEPT_BACK])
        kinds = [asyncio.ensure_future(told(one)) for one in many]

        async def two_are_told() -> bool:
            return sum(kind.done() for kind in kinds) == 2

        await eventually(two_are_told)
        for one, kind in zip(many, kinds, strict=True):
            if not kind.done():
                await one.send(MESSAGE[-KEPT_BACK:])
        assert sorted(await asyncio.gather(*kinds)) == ["goodbye"] * 2 + ["result"] * 3
        assert "time" in await honest.ask("ping")
