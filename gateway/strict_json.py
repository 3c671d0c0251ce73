"""JSON from outside: parsed exactly, and refused where it is too deep, too much, or can't be kept as it is."""

import gc
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson
from pydantic_core import from_json

from gateway.errors import wrong_field

MAX_DEPTH: Final = 64
"""How deep a client's JSON may nest: well below what every parser and encoder we use can take."""
MAX_VALUES: Final = 100_000
"""Values in a client's JSON, however small each is: looking at them takes time that others wait for."""
_TOO_MANY: Final = f"more than {MAX_VALUES} values"
LARGE_BYTES: Final = 64 << 10
"""Requests larger than this are looked over before they are parsed."""
MAX_KEYS: Final = 100
"""Keys of a request: what is unknown is told one by one."""
MAX_INT: Final = 2**63 - 1
"""The largest integer that every store and encoder we use keeps exactly."""


class ValueCount:
    """How many values there are in JSON that comes in parts. What is whole is looked at in one go, and that is half a
    second where there are millions."""

    _STRING: Final = re.compile(rb'"(?:[^"\\]+|\\.)*+("?)', re.DOTALL)
    """To its end, or to that of the part, where a backslash may be left."""

    def __init__(self) -> None:
        self._count = 0
        self._begun = b""
        """What stands for a string that has not ended."""

    def feed(self, part: bytes) -> None:
        """Raises `GatewayError` `bad_frame` where there are surely too many: an empty list is counted twice."""
        pieces = self._STRING.split(self._begun + part)
        self._begun = b'"' + pieces[-1] if pieces[-2:-1] == [b""] else b""
        outside = b"".join(pieces[::2])
        self._count += sum(map(outside.count, (b",", b"[", b"{")))
        if self._count > 2 * MAX_VALUES:
            raise wrong_field(["input"], _TOO_MANY)


def check_json(value: Any) -> Any:
    """`value`, parsed JSON, if it can be stored and sent as it is. Raises ValueError for what can't."""
    if (problem := _problem_of(value)) is not None:
        raise ValueError(problem)
    return value


def _problem_of(value: Any) -> str | None:
    level, count = [value], 0
    for _depth in range(MAX_DEPTH):
        count += len(level)
        if not level:
            return None
        if count > MAX_VALUES:
            return _TOO_MANY
        try:
            level = [child for item in level for child in _children(item)]
        except ValueError as error:
            return str(error)
    return f"nested deeper than {MAX_DEPTH}" if level else None


def _children(item: Any) -> Sequence[Any]:
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, list):
        return item
    if isinstance(item, float) and not math.isfinite(item):
        raise ValueError("not a finite number")
    if isinstance(item, int) and abs(item) > MAX_INT:
        raise ValueError("an integer of more than 64 bits")
    return ()


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in `text`, of no more than `MAX_KEYS` keys. Raises `GatewayError` `bad_frame`."""
    try:
        if len(text) > LARGE_BYTES:
            _look_over(text)
        value = from_json(text)
    except ValueError as error:
        raise wrong_field([], f"Invalid JSON: {error}") from None
    if not isinstance(value, dict):
        raise wrong_field([], "Input should be an object")
    if len(value) > MAX_KEYS:
        raise wrong_field([], f"Input has more than {MAX_KEYS} keys")
    return value


def leniently(text: str | bytes) -> Any:
    """What the standard library reads in `text`: also numbers that are none, and half an emoji. None for nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def is_text(found: str) -> bool:
    """Whether all of it are characters: a string that was read leniently may hold half of one."""
    return not any("\ud800" <= char <= "\udfff" for char in found)


def _look_over(text: str | bytes) -> None:
    """Refuse what is made of too many values before the exact parser, which is slow at them, gets to see it.

    Raises ValueError for what is not JSON, and `GatewayError` `bad_frame`.
    """
    with _collector_paused():
        # No exception may hold on to the value: freeing it is half the work.
        problem = _problem_of(orjson.loads(text))
    if problem is not None:
        raise wrong_field(["input"], problem)


@contextmanager
def _collector_paused() -> Iterator[None]:
    # Millions of small lists make the collector look at all of them again and again: 5 s for 25 MiB, not 0.7.
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()
