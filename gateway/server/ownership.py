"""How this instance may own tasks: alone with its store, or as one of many by a lease; and the loops that follow."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.fanout.presence import Presence
from gateway.server.data_dir import disk_problem, heard_ms, show_life, succeed
from gateway.settings import Settings
from gateway.state.base import StateStore
from gateway.work.dispatcher import Dispatcher
from gateway.work.fleet_view import FleetView
from gateway.work.leases import Alone, Lease, Told
from gateway.work.recovery import Recovery, take_over

LIFE_S: Final = 1.0
"""How often one that is alone shows that it lives: what it runs may run for so much longer, should it die."""


class Ownership:
    """Makes the right, and what goes with it: `view` of the others, `presence` of watchers at all of them."""

    def __init__(
        self,
        settings: Settings,
        store: StateStore,
        clock: Clock,
        told: Told,
        *,
        instance: str,
        log: FilteringBoundLogger,
    ) -> None:
        self.on_takeover: Callable[[float], None] = lambda _seconds: None
        """See `Recovery.on_late`."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when the lease is lost, and whatever ran here has been stopped."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._instance = instance
        self._log = log
        self.view = FleetView(store, instance, told.about, log=log)
        self._lease: Lease | None = None
        if not settings.is_alone:
            times = {"lease_s": settings.lease_s, "renew_s": settings.lease_renew_s}
            self._lease = Lease(store, instance, told, **times, log=log)
        self.holding: Alone | Lease = self._lease or Alone()
        living = self._living if self._lease is not None else None
        self.presence = Presence(store, clock, instance=instance, living=living, log=log)

    async def begin(self, dispatcher: Dispatcher) -> None:
        """Take over at once what is known to be the dead's; begin the lease. Raises `StoreUnavailableError`."""
        store, clock, log = self._store, self._clock, self._log
        heard = heard_ms(self._settings.data_dir)
        if self._lease is None:
            await take_over(store, clock, dispatcher, heard_ms=heard, log=log)
            return
        self._lease.on_lost = partial(self._lost, dispatcher)
        await self._lease.renew()
        if self._settings.event_bus_backend != "memory":
            return
        # Nobody shares the directory: whoever had it before us is dead, whoever else shares the database.
        former = succeed(self._settings.data_dir, self._instance)
        if former is not None:
            await take_over(store, clock, dispatcher, of=[former], heard_ms=heard, log=log)
            await store.leases.end(former)

    def _lost(self, dispatcher: Dispatcher) -> None:
        dispatcher.stop_runs()
        self.presence.doubt()
        self.on_lost()

    async def _living(self) -> set[str]:
        return {one.instance for one in (await self._store.leases.fleet()).living}

    def loops(self, dispatcher: Dispatcher) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What runs as long as the gateway does, by name."""
        attending = {"presence": self.presence.run()}
        if self._settings.event_bus_backend == "memory":
            attending["life"] = self._show_life()
        if self._lease is None:
            return attending
        lease_s = self._settings.lease_s
        times = {"lease_s": lease_s, "grace_s": self._settings.takeover_s - lease_s}
        recovery = Recovery(self._store, self._clock, dispatcher, self._lease, **times, log=self._log)
        recovery.on_late = self.on_takeover
        runs = {"lease": self._lease.run(), "recovery": recovery.run(), "fleet": self.view.run()}
        return attending | runs

    async def _show_life(self) -> None:
        while True:
            show_life(self._settings.data_dir, self._clock.now_ms())
            await asyncio.sleep(LIFE_S)

    @property
    def problems(self) -> Mapping[str, Callable[[], str | None]]:
        """What is wrong with what this instance owns tasks by, by the names of the parts."""
        return {"leases": self._lease_problem, "disk": partial(disk_problem, self._settings.data_dir)}

    def _lease_problem(self) -> str | None:
        return None if self.holding.lives else "the lease is over: nothing is claimed until it can be renewed"

    def tell(self) -> None:
        """What the others are told of this instance has changed."""
        if self._lease is not None:
            self._lease.tell()

    async def end(self) -> None:
        """Own nothing any more: what was not given back is the others' at once."""
        if self._lease is not None:
            await self._lease.end()
