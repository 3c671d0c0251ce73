"""The WebSocket frames that we write ourselves, read back by a library that knows the RFC."""

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.wire import PING, text_frame


def received(data: bytes) -> list[Frame]:
    """What a WebSocket client makes of `data`."""
    client = ClientProtocol(parse_uri("ws://test/"), state=State.OPEN, max_size=None)
    client.receive_data(data)
    frames = client.events_received()
    assert all(isinstance(frame, Frame) for frame in frames)
    return [frame for frame in frames if isinstance(frame, Frame)]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 300_000])
def test_text_frame_is_what_a_client_reads(length: int) -> None:
    """At each of the three lengths of a header, a client reads one final text frame with the payload."""
    payload = b"x" * length
    (frame,) = received(text_frame(payload))
    assert (frame.opcode, bytes(frame.data), frame.fin) == (Opcode.TEXT, payload, True)


def test_joined_frames_stay_apart() -> None:
    """Frames written in one go are read one by one, a ping among them."""
    frames = received(text_frame(b"one") + PING + text_frame(b"two"))
    assert [(f.opcode, bytes(f.data)) for f in frames] == [
        (Opcode.TEXT, b"one"),
        (Opcode.PING, b""),
        (Opcode.TEXT, b"two"),
    ]
