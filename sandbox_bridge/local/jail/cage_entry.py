"""Moves a starting jail into its cage, before anything of a task runs in it."""

import asyncio
from collections.abc import Callable

from sandbox_bridge.local.errors import JailError
from sandbox_bridge.local.jail.cages.base import Cage, CageError


class CageEntry:
    """One jail's cage, from when it is made to its end, and the thread in which it takes the jail in.

    In a thread, since the first such wish to a quiet kernel waits for 10 ms, in which a jail can start; most of them
    have passed by then, for the kernel is given notice when the cage is made.
    """

    def __init__(self, make: Callable[[], Cage] | None, give_notice: Callable[[], None] | None) -> None:
        self.cage: Cage | None = None
        self._make = make
        self._give_notice = give_notice
        # Ends by itself, and nobody waits for it.
        self._notice: asyncio.Future[None] | None = None
        self._init_pid = 0
        self._work: asyncio.Future[None] | None = None

    def make_cage(self) -> None:
        """Make it, before there is a jail. Raises `JailError`."""
        try:
            self.cage = self._make() if self._make is not None else None
        except CageError as error:
            raise JailError(str(error)) from error
        if self._give_notice is not None:
            self._notice = asyncio.get_running_loop().run_in_executor(None, self._give_notice)

    def begin(self, init_pid: int) -> None:
        """Have the jail of this first process taken in, from now on."""
        if self.cage is not None and init_pid:
            self._init_pid = init_pid
            self._work = asyncio.get_running_loop().run_in_executor(None, self.cage.admit, init_pid)

    async def end(self) -> None:
        """Wait until all of it is in there; nothing of a task may come in before. Raises `CageError`."""
        if self.cage is None:
            return
        if self._work is None:
            raise CageError("can't take in a jail: its first process has no name")
        await asyncio.shield(self._work)
        self.cage.check(self._init_pid)

    def attach(self, pidfd: int | None) -> None:
        """Have a process that serves the jail from outside, if there is one, stand still with it."""
        if self.cage is not None and pidfd is not None:
            self.cage.attach(pidfd)

    async def settle(self) -> None:
        """Wait for the thread, however it ends: until the jail is killed, its number is nobody else's."""
        if self._work is not None:
            await asyncio.wait([self._work])
            self._work.exception()  # whoever wanted to know has been told

    def close(self) -> None:
        """Let go of the cage, whose jail is gone."""
        if self.cage is not None:
            self.cage.close()
