"""Turns: requests about one thing take effect in the order in which they were sent; others never wait for them.

Each request is an asyncio task of its own, so that a slow one holds up nobody. But a line of input and the `eof`
right behind it, or a pause and its resume, mean something else the other way round, and a client need not wait for
answers to say things in order.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Task = asyncio.Task[None]
Work = Callable[[], Coroutine[Any, Any, None]]


class Turns:
    """One connection's requests, as tasks. What is kept is bounded by those under way.

    `on_failure` is told of what one of them raises that was not cancelled.
    """

    __slots__ = ("_last", "_on_failure", "_tasks")

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._tasks: dict[Task, None] = {}
        self._last: dict[str, Task] = {}

    def __repr__(self) -> str:
        return f"<Turns of {len(self._last)} things>"

    @property
    def is_idle(self) -> bool:
        """Whether none is under way."""
        return not self._tasks

    def begin(self, about: str | None, work: Work, *, name: str) -> None:
        """Do `work` once all that was begun about the same thing is over; about None at once."""
        former = self._last.get(about) if about is not None else None
        turn = self.aside(work() if former is None else _after(former, work), name=name)
        if about is not None:
            self._last[about] = turn
            turn.add_done_callback(lambda over: self._forget(about, over))

    def aside(self, work: Coroutine[Any, Any, None], *, name: str) -> Task:
        """Do `work`, which is no request, beside them."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._over)
        return task

    async def settle(self, within_s: float) -> None:
        """Let what was said about anything come to its end, for at most `within_s`: who said it may not wait for it."""
        if self._last:
            await asyncio.wait(list(self._last.values()), timeout=within_s)

    async def aclose(self) -> None:
        """End all of them."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def let_go(self) -> None:
        """Tell nobody any more: whoever is told has these turns, a circle otherwise."""
        self._on_failure = _nobody

    def _over(self, task: Task) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    def _forget(self, about: str, over: Task) -> None:
        if self._last[about] is over:
            del self._last[about]


def _nobody(_: BaseException) -> None:
    pass


async def _after(former: Task, work: Work) -> None:
    await asyncio.wait([former])
    await work()
