"""One attempt of one task in a process of Celery's, which is an instance for as long as the attempt takes.

It claims, holds a lease, writes under a fence, and carries out wishes as any instance does. So a message that comes
twice finds nothing to claim, and the task of a process that dies is taken over.
"""

import asyncio
import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.agents.hosted import hosted
from gateway.agents.loading import load_agents
from gateway.bus.base import Bus, announce, instance_channel
from gateway.clock import Clock, rfc3339
from gateway.errors import GatewayError
from gateway.fleet import Standing, may_claim
from gateway.metrics import Metrics
from gateway.server import logs
from gateway.server.backends import make_bus, make_store
from gateway.server.data_dir import locked
from gateway.server.world import World
from gateway.settings import Settings
from gateway.state.base import StateStore
from gateway.task_changes import Change, claimed
from gateway.tasks import TaskRecord
from gateway.work.leases import Lease, Told
from gateway.work.lost_wakeups import poll_lost_wakeups
from gateway.work.run import Run


async def attempt(settings: Settings, task_id: str, epoch: int) -> None:
    """Do the task, if it waits with that epoch. Raises `StoreUnavailableError` where the store can't be opened."""
    clock, log = Clock(), logs.get().bind(task_id=task_id)
    instance = clock.new_id()
    async with AsyncExitStack() as held:
        held.enter_context(locked(settings.data_dir, shared=True))
        writer, readers = (held.enter_context(ThreadPoolExecutor(1)) for _ in range(2))
        store = make_store(settings, World(clock, writer, readers))
        bus = make_bus(settings, Metrics(), instance=instance)
        store.on_commit = functools.partial(announce, bus)
        await store.open()
        held.push_async_callback(store.aclose)
        one = _Attempt(settings, store, bus, clock, instance=instance, log=log.bind(instance=instance))
        await one.execute(task_id, epoch)


class _Attempt:
    def __init__(
        self,
        settings: Settings,
        store: StateStore,
        bus: Bus,
        clock: Clock,
        *,
        instance: str,
        log: FilteringBoundLogger,
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._clock = clock
        self._instance = instance
        self._log = log
        self._agents = {name: hosted(name, kind) for name, kind in load_agents(settings.agents).items()}
        self._begun_at = rfc3339(clock.now_ms())
        times = {"lease_s": settings.lease_s, "renew_s": settings.lease_renew_s}
        self._lease = Lease(store, instance, Told(self._about), **times, log=log)

    def _about(self) -> Mapping[str, Any]:
        about = {"role": "worker", "started_at": self._begun_at, "draining": False}
        doing = {"agents": list(self._agents), "running": 1, "connections": 0}
        return {"instance": {**about, **doing}, "sandboxes": []}

    async def execute(self, task_id: str, epoch: int) -> None:
        """Claim and run it."""
        async with asyncio.TaskGroup() as loops:
            beside = [loops.create_task(loop) for loop in (self._bus.run(), self._lease.run())]
            await self._execute(task_id, epoch)
            for loop in beside:
                loop.cancel()

    async def _execute(self, task_id: str, epoch: int) -> None:
        await self._lease.renew()
        try:
            owned = await self._claimed(task_id, epoch)
            if owned is not None:
                await self._run(owned)
        finally:
            await self._lease.end()

    async def _claimed(self, task_id: str, epoch: int) -> TaskRecord | None:
        limit = self._settings.max_running_per_subject

        def claim(row: TaskRecord, standing: Standing) -> Change:
            fits = row.epoch == epoch and row.agent in self._agents
            if not (fits and may_claim(standing, limit=limit, is_leased=True)):
                return Change()
            return claimed(row, owner=self._instance, sandbox_id=None, now_ms=self._clock.now_ms())

        try:
            row = await self._store.leases.assign(task_id, self._instance, claim)
        except GatewayError:
            return None  # it is gone, or waits no more
        return row if row.owner == self._instance else None

    async def _run(self, owned: TaskRecord) -> None:
        run = Run(
            owned,
            self._agents[owned.agent],
            bridge=None,
            store=self._store,
            clock=self._clock,
            hold_s=self._settings.pause_hold_s,
            on_change=lambda: None,
            log=self._log,
        )
        carrying = asyncio.get_running_loop().create_task(run.execute(), name=f"run {owned.task_id}")

        def stop() -> None:
            """Like a crash: the task may be another's already."""
            carrying.cancel()

        self._lease.on_lost = stop
        self._bus.on_message(lambda _channel, _message: run.ring())
        await self._bus.subscribe(instance_channel(self._instance))
        run.ring()
        listening = poll_lost_wakeups(self._store, self._instance, lambda: [run], log=self._log)
        hearing = asyncio.get_running_loop().create_task(listening, name="bells")
        try:
            await asyncio.wait([carrying])
        finally:
            hearing.cancel()
