"""This instance's lease: kept while the store can be reached; given up by its own clock before the store's says so."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from gateway.agents.schemas import told
from gateway.errors import StoreUnavailableError
from gateway.fleet import stops_after_s
from gateway.state.base import StateStore
from gateway.state.leases import Schemas

AGAIN_S: Final = 0.5
"""How soon a renewal that failed is tried again."""
CALM_S: Final = 0.5
"""How long what an instance tells of itself is gathered before the others are told."""

About = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Told:
    """What an instance tells the others of itself: `about` anew with each renewal, what its `agents` take once."""

    about: About
    agents: Schemas = field(default_factory=dict)


class Holding(Protocol):
    """The right of an instance to own tasks: a lease, or that it is alone."""

    is_leased: bool
    """Whether others may take over what it does not hold on to."""

    @property
    def lives(self) -> bool:
        """Whether it may own tasks now."""


class Alone:
    """For an instance that holds its store's lock: no other can take its tasks over, so it needs no lease."""

    is_leased = False
    lives = True


class Lease:
    """The right of one of many: what it runs has to stop when `on_lost` is called, which may happen again and again.

    `told` is what it tells the others of itself.
    """

    is_leased = True

    def __init__(
        self,
        store: StateStore,
        instance: str,
        told: Told,
        *,
        lease_s: float,
        renew_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self.on_lost: Callable[[], None] = lambda: None
        self._store = store
        self._instance = instance
        self._told = told
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._log = log
        self._until = -math.inf
        self._begun = False
        self._ended = False
        # Fires where no renewal comes; each one sets it anew.
        self._watchdog: asyncio.TimerHandle | None = None
        self._bell = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Lease of {self._instance}, {'lives' if self.lives else 'over'}>"

    @property
    def lives(self) -> bool:
        """See `Holding.lives`."""
        return asyncio.get_running_loop().time() < self._until

    def tell(self) -> None:
        """What the others are told has changed: renew soon."""
        self._bell.set()

    async def run(self) -> None:
        """Keep the lease until cancelled, or until it is ended."""
        while not self._ended:
            wait_s = self._renew_s
            try:
                await self.renew()
            except StoreUnavailableError as error:
                self._log.warning("store unavailable, the lease is not renewed", error=str(error))
                wait_s = min(AGAIN_S, self._renew_s)
            await self._wait(wait_s)

    async def _wait(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + wait_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._bell.wait()
        await asyncio.sleep(min(CALM_S, max(due - loop.time(), 0)))
        self._bell.clear()

    async def renew(self) -> None:
        """Renew it once; one that is over is begun anew. Raises `StoreUnavailableError`."""
        asked_at = asyncio.get_running_loop().time()
        if await self._asked(round(self._lease_s * 1000)):
            self._hold(asked_at + stops_after_s(self._lease_s))
        elif not self._ended:
            self._lose()

    async def _asked(self, lease_ms: int) -> bool:
        """Whether the store has it live from now on."""
        about = self._told.about()
        if self._begun:
            return await self._store.leases.renew(self._instance, lease_ms, about)
        await self._store.leases.begin(self._instance, lease_ms, about, told(self._told.agents))
        return True

    async def end(self) -> None:
        """Give it up, now that nothing runs: whatever is left is the others' at once."""
        self._ended = True
        self._stop_watchdog()
        self._until = -math.inf
        with contextlib.suppress(StoreUnavailableError):  # then it ends by itself
            await self._store.leases.end(self._instance)

    def _hold(self, until: float) -> None:
        if self._ended:
            return
        self._begun, self._until = True, until
        self._stop_watchdog()
        self._watchdog = asyncio.get_running_loop().call_at(until, self._lose)

    def _lose(self) -> None:
        self._stop_watchdog()
        self._until = -math.inf
        if self._begun:
            self._begun = False
            self._log.warning("the lease is lost; whatever runs here stops")
            self.on_lost()

    def _stop_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
