"""Takeover: finds the tasks of lost owners, and puts them back in the queue or takes them up.

Whoever is alone with its store takes them all when it starts. One of many takes those whose owners' leases are
over, and keeps looking for them; and those that it owns itself without knowing: of a run that a bug has ended, of
a claim whose answer was lost, of its own former lease.
"""

import asyncio
import math
from collections.abc import Callable, Collection
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.errors import GatewayError, StoreUnavailableError
from gateway.fleet import Standing, is_orphan
from gateway.state.base import StateStore
from gateway.task_changes import Change, lost, taken_over
from gateway.tasks import TaskRecord
from gateway.work.dispatcher import Dispatcher
from gateway.work.leases import Holding

LOOK_S: Final = 1.0
"""How often to look for orphans of others."""
LOOK_OWN_S: Final = 5.0
"""How often for those of its own, which is to read all that runs here: few are ever lost so."""


async def take_orphans(
    store: StateStore,
    clock: Clock,
    *,
    log: FilteringBoundLogger,
    owner: str = "",
    goes_on: Callable[[TaskRecord], bool] = lambda _task: False,
    of: Collection[str] | None = None,
    heard_ms: int | None = None,
) -> list[TaskRecord]:
    """Take every task over that `of` own: those that `owner` goes on with, which are returned, in their attempt.

    The others are put back, their place lost, or end where that was their last attempt. Only for an instance
    that knows that none of `of` lives; without it, that no other lives at all. `heard_ms` is their last sign of life.
    """

    def decide(task: TaskRecord) -> Change:
        if task.owner is None or (of is not None and task.owner not in of):
            return Change()
        if goes_on(task):
            return taken_over(task, owner=owner)
        return lost(task, "instance_lost", now_ms=clock.now_ms(), heard_ms=heard_ms)

    orphans = await store.owned_tasks()
    found: list[TaskRecord] = []
    for orphan in orphans:
        if of is not None and orphan.owner not in of:
            continue
        after = await store.change_task(orphan.task_id, decide)
        log.info("orphan taken up", task_id=orphan.task_id, owner=orphan.owner, status=str(after.status))
        if after.owner == owner:
            found.append(after)
    return found


async def take_over(
    store: StateStore,
    clock: Clock,
    dispatcher: Dispatcher,
    *,
    log: FilteringBoundLogger,
    of: Collection[str] | None = None,
    heard_ms: int | None = None,
) -> None:
    """Take over what the dead have owned; `dispatcher` goes on with what it can. The rest as in `take_orphans`."""
    owner, goes_on = dispatcher.instance, dispatcher.can_take_up
    dispatcher.take_up(
        await take_orphans(store, clock, owner=owner, goes_on=goes_on, of=of, heard_ms=heard_ms, log=log)
    )


class Recovery:
    """Puts tasks back whose owner's lease has been over for `grace_s`, and those that nobody here knows of."""

    def __init__(
        self,
        store: StateStore,
        clock: Clock,
        dispatcher: Dispatcher,
        holding: Holding,
        *,
        lease_s: float,
        grace_s: float,
        log: FilteringBoundLogger,
    ) -> None:
        self.on_late: Callable[[float], None] = lambda _seconds: None
        """Called for each task that is put back, with the time since its owner's lease was over."""
        self._store = store
        self._clock = clock
        self._dispatcher = dispatcher
        self._holding = holding
        self._lease_ms, self._grace_ms = round(lease_s * 1000), round(grace_s * 1000)
        self._log = log
        self._own_looked_at = -math.inf

    async def run(self) -> None:
        """Look again and again, until cancelled. Who holds no lease itself does not judge others."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._holding.lives:
                continue
            try:
                await self.look()
            except StoreUnavailableError as error:
                self._log.warning("store unavailable, nothing is taken over", error=str(error))

    async def look(self) -> None:
        """Put back what there is now. Raises `StoreUnavailableError`."""
        found = await self._orphans()
        if any(owner == self._me for owner in found.values()):
            # What is being claimed is nobody's run yet.
            async with self._dispatcher.no_claims():
                self._own_looked_at = -math.inf
                await self._put_back_own(await self._orphans())
        for task_id, owner in found.items():
            if owner != self._me:
                await self._put_back(task_id, self._decide)

    @property
    def _me(self) -> str:
        return self._dispatcher.instance

    async def _orphans(self) -> dict[str, str]:
        """Without those that run here; its own are looked for now and then."""
        found = await self._store.leases.orphans(self._asked_for(), grace_ms=self._grace_ms)
        return {
            task_id: owner
            for task_id, owner in found.items()
            if owner != self._me or not self._dispatcher.has(task_id)
        }

    def _asked_for(self) -> str:
        """Itself, where it is to look for its own; else nobody."""
        now = asyncio.get_running_loop().time()
        if now - self._own_looked_at < LOOK_OWN_S:
            return ""
        self._own_looked_at = now
        return self._me

    async def _put_back_own(self, found: dict[str, str]) -> None:
        for task_id in [task_id for task_id, owner in found.items() if owner == self._me]:
            await self._put_back(task_id, self._decide_own)

    def _decide(self, task: TaskRecord, standing: Standing) -> Change:
        if not is_orphan(task, standing, grace_ms=self._grace_ms):
            return Change()
        if standing.owners is not None:
            self.on_late((standing.now_ms - standing.owners) / 1000)
        # A lease that nobody remembers has been over for long; it lives from the last sign on.
        heard_ms = 0 if standing.owners is None else standing.owners - self._lease_ms
        return lost(task, "instance_lost", now_ms=self._clock.now_ms(), heard_ms=heard_ms)

    def _decide_own(self, task: TaskRecord, _standing: Standing) -> Change:
        if task.owner != self._me:
            return Change()
        return lost(task, "instance_lost", now_ms=self._clock.now_ms())

    async def _put_back(self, task_id: str, decide: Callable[[TaskRecord, Standing], Change]) -> None:
        before: list[TaskRecord] = []

        def decide_once_more(task: TaskRecord, standing: Standing) -> Change:
            before[:] = [task]
            return decide(task, standing)

        try:
            after = await self._store.leases.assign(task_id, self._me, decide_once_more)
        except GatewayError:
            return  # deleted in between
        if after.owner != before[0].owner:
            self._dispatcher.end_former(before[0])
        own = decide == self._decide_own
        self._log.info("orphan put back", task_id=task_id, own=own, status=str(after.status))
