"""Jails that are ready before anybody asks: a session takes one in a millisecond, and nobody gets it after.

They are counted as no session's, limited when they are taken, and made anew in the background. Where none
is ready, or one of another size is asked for, a jail is made on the spot.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from sandbox_bridge.local.errors import JailError, JailLostError
from sandbox_bridge.local.jail.cages.base import CageError
from sandbox_bridge.local.jail.jail import Jail, JailSize
from sandbox_bridge.local.jail.profile import Profile
from sandbox_bridge.settings import SandboxSettings

_COURTESY_S = 0.05
"""Before a jail that was taken is made up for: whoever has just taken it has work to do first."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
"""Between attempts that fail: a machine without room does not get it from us."""

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _Ready:
    """A jail that waits to be taken; `stack` ends it."""

    jail: Jail
    stack: AsyncExitStack


class WarmJails:
    """Gives jails, ready ones while there are any. Made by `warm_jails`."""

    def __init__(self, profile: Profile, settings: SandboxSettings) -> None:
        self.profile = profile
        self._settings = settings
        self._ready: deque[_Ready] = deque()
        self._dead: list[_Ready] = []
        self._changed = asyncio.Event()
        # The most that a task may ask for: a limit can be lowered later, not raised.
        self._size = JailSize(
            disk_mb=min(settings.disk_mb, settings.max_disk_mb),
            processes=settings.max_processes,
            memory_mb=settings.max_memory_mb,
        )

    @property
    def ready(self) -> int:
        """How many there are now."""
        return len(self._ready)

    @asynccontextmanager
    async def take(self, size: JailSize) -> AsyncIterator[Jail]:
        """A jail until the block is left; then it is gone. Raises `JailError`, `JailLostError`."""
        async with AsyncExitStack() as stack:
            jail = await self._take_ready(size, stack)
            if jail is None:
                jail = await stack.enter_async_context(Jail.open(self.profile, size, self._settings))
            yield jail

    async def _take_ready(self, size: JailSize, stack: AsyncExitStack) -> Jail | None:
        if not self._ready or size.disk_mb != self._size.disk_mb or size.network:
            return None
        ready = self._ready.popleft()
        ready.jail.forget_end()
        self._changed.set()
        stack.push_async_exit(ready.stack)
        try:
            await ready.jail.set_limits(size)
        except (CageError, JailLostError) as error:
            log.warning("warm_jail_not_usable", error=str(error))
            return None
        return ready.jail

    # --- in the background ----------------------------------------------------------------------------

    async def keep_full(self) -> None:
        """Make what is missing and clear away what has died, for as long as it runs."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._changed.clear()
            await self._clear_dead()
            try:
                while len(self._ready) < self._settings.warm:
                    await self._add()
                    pause_s = _FIRST_PAUSE_S
            except (JailError, JailLostError, OSError) as error:
                log.warning("warm_jail_not_made", error=str(error), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            await self._changed.wait()
            await asyncio.sleep(_COURTESY_S)

    async def _add(self) -> None:
        async with AsyncExitStack() as stack:
            jail = await stack.enter_async_context(Jail.open(self.profile, self._size, self._settings))
            ready = _Ready(jail, stack.pop_all())
            jail.notice_end(lambda: self._lose(ready))
            self._ready.append(ready)

    def _lose(self, ready: _Ready) -> None:
        ready.jail.forget_end()
        self._ready.remove(ready)
        self._dead.append(ready)
        self._changed.set()

    async def _clear_dead(self) -> None:
        while self._dead:
            await self._dead.pop().stack.aclose()

    async def aclose(self) -> None:
        """End those that nobody has taken."""
        for ready in self._ready:
            ready.jail.forget_end()
        self._dead += self._ready
        self._ready.clear()
        await self._clear_dead()


@asynccontextmanager
async def warm_jails(profile: Profile, settings: SandboxSettings) -> AsyncIterator[WarmJails]:
    """A pool of `settings.warm` jails, filling up, until the block is left."""
    jails = WarmJails(profile, settings)
    # Ends with the block; not in a group, which would wrap what the block raises.
    keeper = asyncio.create_task(jails.keep_full())
    try:
        yield jails
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        await jails.aclose()
