"""What a task is called in lists where nobody called it anything: what it was asked to do, in a few words."""

from collections.abc import Mapping
from typing import Any, Final

MAX_TITLE: Final = 120
_LOOKED_AT: Final = 4 * MAX_TITLE
"""Of a text, which may be megabytes."""


def title_of(given: Mapping[str, Any]) -> str | None:
    """The beginning of an input's text, else of its first command, in one line; None where it has neither."""
    text = given.get("task") or _command(given.get("commands"))
    if not isinstance(text, str):
        return None
    # Not every store takes a NUL in a text, and no list is to be drawn by a control character.
    begun = text[:_LOOKED_AT]
    readable = (
        begun if begun.isprintable() else "".join(sign if sign.isprintable() else " " for sign in begun)
    )
    line = " ".join(readable.split())
    return (line if len(line) <= MAX_TITLE else f"{line[: MAX_TITLE - 1]}…") or None


def _command(commands: Any) -> Any:
    first = commands[0] if isinstance(commands, list) and commands else None
    if not isinstance(first, dict):
        return first
    argv = first.get("argv")
    return " ".join(map(str, argv[:_LOOKED_AT])) if isinstance(argv, list) else first.get("sh")
