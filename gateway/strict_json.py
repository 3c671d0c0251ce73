"""JSON from outside: parsed exactly, and refused where it is too deep, too much, or can't be kept as it is."""

import gc
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final, TypeVar

import orjson
from pydantic_core import from_json

from gateway.errors import wrong_field

T = TypeVar("T")

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
    """Why it can't be; level by level, each kind of values in one go: a call for each took a quarter of a us."""
    level, count = [value], 0
    for _depth in range(MAX_DEPTH):
        count += len(level)
        if not level:
            return None
        if count > MAX_VALUES:
            return _TOO_MANY
        kinds = set(map(type, level))
        if float in kinds and not all(map(math.isfinite, _of(float, level, kinds))):
            return "not a finite number"
        if int in kinds:
            numbers = _of(int, level, kinds)
            if not -MAX_INT <= min(numbers) <= max(numbers) <= MAX_INT:
                return "an integer of more than 64 bits"
        level = _children(level, kinds) if kinds & {dict, list} else []
    return f"nested deeper than {MAX_DEPTH}" if level else None


def _of(kind: type[T], level: Sequence[Any], kinds: set[type]) -> Sequence[T]:
    # All of one kind they need not be looked at: that was most of what wide JSON costs.
    return level if len(kinds) == 1 and kind in kinds else [item for item in level if type(item) is kind]


def _children(level: Sequence[Any], kinds: set[type]) -> list[Any]:
    inside = chain(map(dict[str, Any].values, _of(dict, level, kinds)), _of(list, level, kinds))
    return list(chain.from_iterable(inside))


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in `text`, of no more than `MAX_KEYS` keys. Raises `GatewayError` `bad_frame`."""
    try:
        value = from_json(text) if len(text) <= LARGE_BYTES else _large(text)
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


def _large(text: str | bytes) -> Any:
    """What `text` says, looked over before the exact parser, which is slow at many values, gets to see it.

    Raises ValueError for what is not JSON, and `GatewayError` `bad_frame`.
    """
    with _collector_paused():
        # No exception may hold on to the value: freeing it is half the work.
        problem = _problem_of(orjson.loads(text))
        if problem is None:
            return from_json(text)
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
