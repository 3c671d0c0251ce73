"""What is read out of frames that are broken."""

import pytest

from sandbox_bridge.salvage import session_of_broken_frame


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
