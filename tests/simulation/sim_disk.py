"""The simulated disk, for work that is put to an executor without the loop's help."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar

from tests.simulation.sim_loop import SimLoop
from tests.support.inline import InlineExecutor

P = ParamSpec("P")
T = TypeVar("T")


class SimDisk(InlineExecutor):
    """Takes as long as the loop has it, and fails when that does."""

    def __init__(self, loop: SimLoop) -> None:
        super().__init__()
        self._loop = loop

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn` when the disk comes to it."""
        done: Future[T] = Future()
        self._loop.work_on_disk(done, partial(fn, *args, **kwargs))
        return done
