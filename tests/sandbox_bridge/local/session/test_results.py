"""Records that always fit."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sandbox_bridge.local.session.results import Transcript, shorten


def record(command: str = "c", stdout: str = "", stderr: str = "") -> dict[str, Any]:
    """A record as a command leaves it."""
    return {"command": command, "stdout": stdout, "stderr": stderr, "truncated": False, "exit_code": 0}


@given(st.lists(st.builds(record, *[st.text(max_size=20).map(lambda s: s * 300)] * 3), max_size=30))
def test_transcript_is_bounded(records: list[dict[str, Any]]) -> None:
    """Whatever it is given, the records together stay within the bound, in order, from the first."""
    transcript = Transcript(max_bytes=20_000)
    for each in records:
        transcript.add(each)
    kept = transcript.records()
    assert sum(len(orjson.dumps(each)) for each in kept) <= 20_000
    assert len(kept) == len(records) or transcript.truncated


def test_short_records_stay_as_they_are() -> None:
    """Where all fits, nothing is cut."""
    transcript = Transcript()
    transcript.add(record("a", "out", "err"))
    assert transcript.records() == [record("a", "out", "err")]
    assert not transcript.truncated


def test_long_texts_keep_head_and_tail() -> None:
    """Texts are cut before records are dropped."""
    transcript = Transcript(max_bytes=10_000)
    for number in range(4):
        transcript.add(record(str(number), "a" * 4000 + "z" * 4000))
    kept = transcript.records()
    assert [each["command"] for each in kept] == ["0", "1", "2", "3"]
    assert all(each["truncated"] and each["stdout"][0] == "a" and each["stdout"][-1] == "z" for each in kept)


@given(st.text(max_size=100), st.integers(5, 50))
def test_shorten_is_bounded(text: str, most: int) -> None:
    """A shortened text has at most that many characters; a short one is itself."""
    assert len(shorten(text, most)) <= most
    assert len(text) > most or shorten(text, most) == text
