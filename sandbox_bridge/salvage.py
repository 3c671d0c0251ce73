"""What can be saved of a frame that is not the protocol's."""

import re
from typing import Final

import orjson

_SURROGATES: Final = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""An escaped backslash, a pair that is a character, or else half of one."""


def with_whole_characters(text: str) -> str:
    """`text`, which is JSON, with U+FFFD for each half of a character: a string cut by JavaScript ends with one."""
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return _SURROGATES.sub(lambda found: found[0] if found[1] is None else "\\ufffd", text)


def session_of_broken_frame(text: str) -> tuple[str | None, bool]:
    """Whose frame `text` was meant to be, if it says so, and whether it was meant to end that session."""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None, False
    if not isinstance(frame, dict) or not isinstance(frame.get("session_id"), str):
        return None, False
    return frame["session_id"], frame.get("type") in ("task_completed", "task_error")
