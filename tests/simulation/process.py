"""Processes within one event loop, so that one of them can be killed or stopped like any other.

Whatever runs in a process' context is the process': its tasks, its callbacks, its timers, its connections. A
kill takes all of it at one instant: nothing of its code runs any more, what it had not committed is gone, and
the kernel ends its connections. A stopped process keeps everything, and goes on as if no time had passed.
"""

import asyncio
import contextvars
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tests.simulation.sim_loop import SimLoop

Value = TypeVar("Value")

PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)
"""Whose code runs."""


class Process:
    """One process; `start` what it is to do. Until `store_away_until` its store can't be reached."""

    def __init__(self, loop: "SimLoop") -> None:
        self.is_alive = True
        self.is_stopped = False
        self.store_away_until = 0.0
        self._loop = loop
        self._context = contextvars.Context()
        self._context.run(PROCESS.set, self)
        self._tasks: list[weakref.ref[asyncio.Task[Any]]] = []
        self._stopped: list[asyncio.Handle] = []

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Its main task."""
        return self._context.run(lambda: self._loop.create_task(work, name=name))

    def run(self, call: Callable[[], Value]) -> Value:
        """Have its code called."""
        return self._context.run(call)

    def later(self, call: Callable[[], None]) -> None:
        """Have its code called once it goes on."""
        self._stopped.append(asyncio.Handle(call, (), self._loop, self._context))

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """`task` was made by its code."""
        self._tasks.append(weakref.ref(task))

    def kill(self) -> None:
        """End it here and now."""
        self.is_alive = False
        for transport in self._loop.transports_of(self):
            transport.vanish()
        for listening in self._loop.listeners_of(self):
            listening.close()
        self._forget_all()

    def _forget_all(self) -> None:
        """Run nothing of it any more, and take its tasks apart, which nothing will ever wake."""
        self._stopped.clear()
        self._loop.drop_handles(self)
        self._context.run(self._take_apart)
        self._loop.drop_handles(self)

    def _take_apart(self) -> None:
        # Taking apart may make more tasks, which are taken apart in their turn.
        while self._tasks:
            task = self._tasks.pop(0)()
            if task is None or task.done():
                continue
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            _end(task.get_coro())

    def stop(self) -> None:
        """SIGSTOP."""
        self.is_stopped = True
        self._stopped = self._loop.withdraw_handles(self)
        for transport in self._loop.transports_of(self):
            transport.freeze()

    def go_on(self) -> None:
        """SIGCONT."""
        self.is_stopped = False
        self._loop.put_back(self._stopped)
        self._stopped = []
        for transport in self._loop.transports_of(self):
            transport.thaw()


class _Killed(BaseException):
    """What a dead process' coroutines end with: its code does not catch it."""


def _end(coroutine: Any) -> None:
    """Unwind a coroutine; what its clean-up would like to wait for, it is not given."""
    for _ in range(100):
        try:
            coroutine.throw(_Killed)
        except BaseException:  # noqa: BLE001 - however it ends, nobody is left to be told
            return
