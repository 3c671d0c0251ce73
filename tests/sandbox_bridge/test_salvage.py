"""What is read out of frames that are broken."""

import json

import pytest

from sandbox_bridge.salvage import session_of_broken_frame, with_whole_characters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"type":"task_completed","session_id":"a"}', ("a", True)),
        ('{"type":"task_error","session_id":"a","error":1}', ("a", True)),
        ('{"type":"task_progress","session_id":"a","progress":0.5}', ("a", False)),
        ('{"type":["task_error"],"session_id":"a"}', ("a", False)),
        ('{"type":"task_error","session_id":1}', (None, False)),
        ("[1]", (None, False)),
        ("{", (None, False)),
        ("[" * 100_000, (None, False)),
    ],
)
def test_broken_frame_names_its_session_if_it_can(text: str, expected: tuple[str | None, bool]) -> None:
    """A broken frame is put down to the session it names, if it is an object that names one."""
    assert session_of_broken_frame(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\ud83d"', '"\ufffd"'),
        (r'"a\uDE00b"', '"a\ufffdb"'),
        (r'"\ud83d\ude00"', '"\U0001f600"'),
        (r'"\ud83d\ud83d\ude00"', '"\ufffd\U0001f600"'),
        (r'"\\ud83d"', r'"\\ud83d"'),
        (r'"\\\ud83d"', '"\\\\\ufffd"'),
        (r'"\u001b\ud83dx"', '"\\u001b\ufffdx"'),
    ],
)
def test_half_a_character_is_replaced(text: str, expected: str) -> None:
    """Half a character becomes U+FFFD; a whole one, and a backslash that only looks like it, stay."""
    assert json.loads(with_whole_characters(text)) == json.loads(expected)
