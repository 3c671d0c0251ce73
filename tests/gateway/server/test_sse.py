"""Events as server-sent events."""

import orjson

from gateway.server.sse import encode
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
