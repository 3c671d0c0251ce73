"""What can be saved of a frame that is not the protocol's."""

import orjson


def session_of_broken_frame(text: str) -> tuple[str | None, bool]:
    """Whose frame `text` was meant to be, if it says so, and whether it was meant to end that session."""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None, False
    if not isinstance(frame, dict) or not isinstance(frame.get("session_id"), str):
        return None, False
    return frame["session_id"], frame.get("type") in ("task_completed", "task_error")
