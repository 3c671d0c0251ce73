"""What pings are answered."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import Clock, rfc3339
from gateway.frames import Ping, parse_request, plain_ping
from gateway.metrics import Metrics
from gateway.sessions.pongs import Pongs
from gateway.wire import text_frame
from tests.support.records import deterministic


def test_answers_of_one_turn_tell_one_time_and_the_next_ones_a_new_one() -> None:
    """However much time passes between, and though two turns be of one time. Each is one frame, and is counted."""
    times, metrics = iter(range(3)), Metrics()
    pongs = Pongs(Clock(now_ms=lambda: next(times)), metrics)
    turns = [float("1.5"), float("1.5"), float("2.5")]
    asked = [(ask, turn) for turn in turns for ask in (b"a", b"b" * 64)]
    for (ask, turn), ms in zip(asked, [0, 0, 1, 1, 2, 2], strict=True):
        said = {"type": "result", "id": ask.decode(), "result": {"time": rfc3339(ms)}}
        assert pongs.answer(ask, turn) == text_frame(json.dumps(said, separators=(",", ":")).encode())
    assert metrics.asked.counts["ping", "ok"] == 6


IDS = st.text(st.characters(codec="utf-8"), max_size=70) | st.from_regex(
    r"[0-9A-Za-z_.:-]{1,64}", fullmatch=True
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """What may be a ping, in JSON as anybody may write it."""
    said = [("type", draw(st.sampled_from(["ping", "pong"]))), ("id", draw(IDS))]
    spaces = st.sampled_from(["", " ", "\n"])
    separators = "," + draw(spaces), ":" + draw(spaces)
    in_order = dict(draw(st.permutations(said)))
    return json.dumps(in_order, separators=separators, ensure_ascii=draw(st.booleans())).encode()


@given(texts())
@deterministic
def test_what_is_found_to_be_a_ping_is_one(text: bytes) -> None:
    """Whoever writes it: it is what the parser of all requests makes of it."""
    if found := plain_ping(text):
        assert parse_request(text) == Ping(type="ping", id=(found[1] or found[2]).decode())


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("names", [("type", "id"), ("id", "type")])
def test_ping_is_found_as_most_write_it(names: tuple[str, str], separators: tuple[str, str]) -> None:
    """In both orders, and as JavaScript and Python write JSON."""
    said = {"type": "ping", "id": "b1-2.3:_Z"}
    found = plain_ping(json.dumps({name: said[name] for name in names}, separators=separators).encode())
    assert found
    assert b"b1-2.3:_Z" in found.groups()
