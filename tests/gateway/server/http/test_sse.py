"""Events as server-sent events."""

import asyncio
from collections.abc import AsyncGenerator

import orjson
import pytest
from aiohttp import web

from gateway.events import TaskEvents
from gateway.server.http.sse import KEEP_ALIVE_S, _pass_on, encode, is_wanted
from tests.support.records import batch_of


def test_event_is_its_seq_its_kind_and_its_frame() -> None:
    """`id:` is the seq, `event:` the event, `data:` the frame on one line, whatever its text has in it."""
    batch = batch_of("t1", 4, 5, text="a\nid: 9\r\n\n\u2028")
    blocks = encode(batch).decode().split("\n\n")
    assert blocks[-1] == ""
    for block, event in zip(blocks[:-1], batch.events, strict=True):
        lines = block.split("\n")
        assert lines[0] == f"id: {event.seq}"
        assert lines[1] == "event: output"
        assert lines[2].startswith("data: ")
        assert lines[2].removeprefix("data: ").encode() == event.frame
        assert orjson.loads(event.frame)["data"]["text"].startswith("a\nid: 9\r\n\n\u2028")
        assert len(lines) == 3


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream;q=0.5", True),
        ("text/event-stream; charset=utf-8", True),
        ("text/event-stream;q=0", False),
        ("text/event-stream ; q=0.000, application/json", False),
        ("text/event-streams", False),
        ("application/json;x=text/event-stream", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_stream_is_for_who_asks_for_one(accept: str, wanted: bool) -> None:
    """By its name, and not with a weight of 0, which means not at all."""
    assert is_wanted(accept) is wanted


class Written(web.StreamResponse):
    """What a stream has sent so far."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[bytes] = []

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.data.append(bytes(data))


@pytest.mark.looptime
async def test_silence_is_broken_by_comments() -> None:
    """A comment each 15 s keeps proxies from closing a stream on which nothing happens; events lose nothing by it."""
    batch = batch_of("t1", 1, 2)

    async def batches() -> AsyncGenerator[TaskEvents, None]:
        await passed.wait()
        yield batch

    passed, response = asyncio.Event(), Written()
    asyncio.get_running_loop().call_later(2.5 * KEEP_ALIVE_S, passed.set)
    await _pass_on(batches(), response, lambda: False)
    assert response.data == [b": still here\n\n", b": still here\n\n", encode(batch)]
