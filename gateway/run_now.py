"""A coroutine that waits for nothing, run like a function."""

from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


def run_now(work: Coroutine[Any, Any, Value]) -> Value:
    """What `work` gives, which must not suspend: it is run here and now, with or without an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        value: Value = done.value
        return value
    work.close()
    raise AssertionError("it suspended, and nobody would wake it")
