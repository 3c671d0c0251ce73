"""The simulated disk, for work that is put to an executor without the loop's help."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar

from tests.support.inline import InlineExecutor

P = ParamSpec("P")
T = TypeVar("T")


class SimDisk(InlineExecutor):
    """Takes as long as the loop's `run_in_executor` has it, and fails when that does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` when the disk comes to it."""
        told: Future[T] = Future()
        done = self._loop.run_in_executor(self, partial(fn, *args, **kwargs))
        done.add_done_callback(lambda done: _copy(done, told))
        return told


def _copy(done: "asyncio.Future[T]", told: Future[T]) -> None:
    if (error := done.exception()) is not None:
        told.set_exception(error)
    else:
        told.set_result(done.result())
