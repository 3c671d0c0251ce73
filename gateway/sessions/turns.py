"""Turns: requests about one thing take effect in the order in which they were sent; others never wait for them.

Each request is an asyncio task of its own, so that a slow one holds up nobody. But a line of input and the `eof`
right behind it, or a pause and its resume, mean something else the other way round, and a client need not wait for
answers to say things in order.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


class Turns:
    """One connection's requests, as tasks of `group`. What is kept is bounded by those under way."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._last: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Turns of {len(self._last)} things>"

    def begin(self, about: str | None, work: Callable[[], Awaitable[None]], *, name: str) -> None:
        """Do `work` once all that was begun about the same thing is over; about None at once."""
        if about is None:
            self._group.create_task(_after(None, work), name=name)
            return
        turn = self._group.create_task(_after(self._last.get(about), work), name=name)
        self._last[about] = turn
        turn.add_done_callback(lambda over: self._forget(about, over))

    def aside(self, work: Coroutine[Any, Any, None], *, name: str) -> "asyncio.Task[None] | None":
        """Do `work`, which is no request, beside them; None where they are ending by themselves."""
        try:
            return self._group.create_task(work, name=name)
        except RuntimeError:  # one of them has failed, in this very turn of the loop
            work.close()
            return None

    async def settle(self, within_s: float) -> None:
        """Let what was said about anything come to its end, for at most `within_s`: who said it may not wait for it."""
        if self._last:
            await asyncio.wait(list(self._last.values()), timeout=within_s)

    def _forget(self, about: str, over: "asyncio.Task[None]") -> None:
        if self._last[about] is over:
            del self._last[about]


async def _after(former: "asyncio.Task[None] | None", work: Callable[[], Awaitable[None]]) -> None:
    if former is not None:
        await asyncio.wait([former])
    await work()
