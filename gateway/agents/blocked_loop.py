"""Reports an agent that blocks the event loop: nobody else is served meanwhile."""

import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

T = TypeVar("T")
HELD_S: Final = 1.0
"""A step that takes longer is told: clients wait for seconds then, and after some of them a lease is lost."""


@types.coroutine
def timed(work: Coroutine[Any, Any, T], told: Callable[[float], None]) -> Generator[Any, Any, T]:
    """`work` as it is, to be awaited; `told` hears how many seconds each step took that was too long."""
    step, sent = work.send, None
    while True:
        began = time.monotonic()
        try:
            awaited = step(sent)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            if (held_s := time.monotonic() - began) > HELD_S:
                told(held_s)
        try:
            step, sent = work.send, (yield awaited)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for `work`
            step, sent = work.throw, error
