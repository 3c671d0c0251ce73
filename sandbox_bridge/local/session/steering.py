"""Pause and resume: a task stands still, and its bridge is told once that is true.

What it has printed before goes out first, as far as there is credit for it; from then on its time stands still, and
while that does, nothing is told of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from sandbox_bridge.local.jail.cages.base import Cage, CageError
from sandbox_bridge.local.session.channel import Channel
from sandbox_bridge.local.session.task_clock import TaskClock

_THAW_TIMEOUT_S = 1.0

log = structlog.get_logger()


class Steering:
    """Freezes and thaws one jail; the task's time stands still with it.

    `catch_up` sends what the frozen jail has printed, and does not wait for credit.
    """

    def __init__(
        self,
        cage: Cage | None,
        clock: TaskClock,
        channel: Channel,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._cage = cage
        self._clock = clock
        self._channel = channel
        self._catch_up = catch_up
        self._may_be_frozen = False

    async def run(self, next_wish: Callable[[], Awaitable[bool]]) -> None:
        """Do what is wished, and say so, one wish after the other."""
        while True:
            is_paused = await next_wish()
            try:
                await (self._freeze() if is_paused else self._thaw())
            except CageError as error:
                log.warning("not_steered", wish="pause" if is_paused else "resume", error=str(error))
            else:
                await self._channel.signal({"type": "task_paused" if is_paused else "task_resumed"})

    async def thaw(self) -> None:
        """Let go on what stands still, whoever waits for it."""
        with suppress(CageError, TimeoutError):
            async with asyncio.timeout(_THAW_TIMEOUT_S):
                await self._thaw()
        self._clock.go_on()

    async def _freeze(self) -> None:
        if self._cage is None:
            raise CageError("nothing here can freeze a jail")
        self._may_be_frozen = True
        await self._cage.freeze()
        if self._clock.is_going:
            await self._catch_up()
            self._clock.stop()

    async def _thaw(self) -> None:
        if self._may_be_frozen and self._cage is not None:
            await self._cage.thaw()
            self._may_be_frozen = False
        self._clock.go_on()
