"""Who runs next: takes tasks that wait, as long as there is room, and starts a run for each.

`assign` decides and does nothing; the loop around it reads the store, claims by compare-and-set, and runs.
"""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.agents.registry import Registry
from gateway.agents.runner import Agent
from gateway.bus.base import QUEUE, Bus, Message, Missed, Ring, instance_channel
from gateway.clock import Clock
from gateway.errors import GatewayError, StoreUnavailableError
from gateway.fleet import Standing, may_claim
from gateway.metrics import Metrics
from gateway.state.base import StateStore
from gateway.task_changes import Change, claimed, failed
from gateway.tasks import TaskRecord, TaskStatus
from gateway.work.leases import Holding
from gateway.work.lost_wakeups import poll_lost_wakeups
from gateway.work.offers import Offers
from gateway.work.run import MAX_BACK_OFF_MS, Run
from gateway.work.runs import Runs
from gateway.work.waiting import OthersFit, Waiting
from sandbox_bridge.bridge import Bridge, SandboxInfo
from sandbox_bridge.pool import Pool, Want

LOOK_AGAIN_S: Final = 1.0
"""How often tasks that wait for something other than a doorbell are looked at."""
LOST_BELL_S: Final = 2.0
"""How often one of many looks though nothing waits: whoever submits may be killed before it rings."""
PER_SUBJECT: Final = 100
"""How many of a subject's waiting tasks one look sees."""
GIVE_BACK_S: Final = 10.0
"""How long a drain waits, after its time, for the store to take what is given back."""


def assign(
    waiting: Sequence[TaskRecord], running: Counter[str], *, limit: int, last: str
) -> list[TaskRecord]:
    """The order in which waiting tasks are to be tried: subjects take turns, beginning after `last`.

    `waiting` has each subject's tasks in its own order; a subject gets no more than `limit` running (0: no limit).
    """
    queues: dict[str, list[TaskRecord]] = {}
    for task in waiting:
        queues.setdefault(task.subject, []).append(task)
    turns = sorted(queues, key=lambda subject: (subject <= last, subject))
    room = {subject: limit - running[subject] if limit else len(queues[subject]) for subject in turns}
    most = max((min(len(queues[subject]), room[subject]) for subject in turns), default=0)
    return [
        queues[subject][turn]
        for turn in range(most)
        for subject in turns
        if turn < min(len(queues[subject]), room[subject])
    ]


class Dispatcher:
    """Claims tasks for this instance and owns their runs.

    `separate` are the addresses of sandboxes that don't end with this process; `others_fit` says whether another
    instance has the agent, and one that would do. With `offers`, tasks of heavy agents are claimed elsewhere.
    """

    def __init__(
        self,
        *,
        instance: str,
        holding: Holding,
        store: StateStore,
        bus: Bus,
        registry: Registry,
        pool: Pool,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        running_per_subject: int,
        queue_s: float,
        pause_hold_s: float,
        offers: Offers | None = None,
        separate: Collection[str] = (),
        others_fit: OthersFit = lambda _want, _agent: False,
    ) -> None:
        self.instance = instance
        self._holding = holding
        self._store = store
        self._bus = bus
        self._registry = registry
        self._pool = pool
        self._clock = clock
        self._log = log
        self._running_per_subject = running_per_subject
        self._queue_s = queue_s
        self._offers = offers
        self._separate = frozenset(separate)
        self._runs = Runs(store, clock, metrics, hold_s=pause_hold_s, on_change=self.look, log=log)
        # Those that begin with the dispatcher.
        self._taken_up: list[Run] = []
        self._draining = False
        self._last_subject = ""
        self._bell = asyncio.Event()
        self._looking = asyncio.Lock()
        self._waiting = Waiting(store, pool, others_fit, queue_s=queue_s)

    def __repr__(self) -> str:
        return f"<Dispatcher {self.instance}: {len(self._runs)} running{', draining' * self._draining}>"

    @property
    def running(self) -> int:
        """How many tasks run here now."""
        return len(self._runs)

    def has(self, task_id: str) -> bool:
        """Whether that task runs here."""
        return task_id in self._runs

    @contextlib.asynccontextmanager
    async def no_claims(self) -> AsyncIterator[None]:
        """Inside the block nothing is claimed: what this instance owns runs here, or is lost."""
        async with self._looking:
            yield

    def stop_runs(self) -> None:
        """End every run here and now, and write nothing of it: they may be another's already."""
        self._runs.stop()

    def look(self) -> None:
        """Something changed that may let a task run: look at the queue soon."""
        self._bell.set()

    async def run(self) -> None:
        """Dispatch until cancelled; the runs end with it."""
        self._bus.on_message(self._heard, Ring, Missed)
        await self._bus.subscribe(QUEUE)
        await self._bus.subscribe(instance_channel(self.instance))
        async with asyncio.TaskGroup() as runs:
            if self._offers is not None:
                runs.create_task(self._offers.run(), name="offers")
            bells = poll_lost_wakeups(self._store, self.instance, lambda: self._runs, log=self._log)
            runs.create_task(bells, name="bells")
            for run in self._taken_up:
                self._runs.start(run, runs)
            while True:
                try:
                    look_again_s = await self._dispatch(runs)
                except StoreUnavailableError as error:
                    self._log.warning("store unavailable, no task is claimed", error=str(error))
                    look_again_s = LOOK_AGAIN_S
                await self._wait_for_bell(look_again_s)

    def can_take_up(self, task: TaskRecord) -> bool:
        """Whether an attempt of a dead owner can be gone on with here."""
        return self._left_at(task) is not None

    def _left_at(self, task: TaskRecord) -> tuple[Agent, Bridge] | None:
        address = task.place["address"] if task.place is not None else ""
        bridge = self._pool.at(address) if address in self._separate else None
        agent = self._registry.get(task.agent) if task.agent in self._registry else None
        return (agent, bridge) if agent is not None and agent.take_up and bridge is not None else None

    def end_former(self, task: TaskRecord) -> None:
        """Have the session of a lost owner's attempt end, where it was in a sandbox that is met from here, too."""
        bridge = self._pool.at(task.place["address"]) if task.place is not None else None
        if bridge is not None and task.place is not None:
            bridge.end_former(task.place["session_id"])

    def take_up(self, tasks: Iterable[TaskRecord]) -> None:
        """Go on with attempts that can be taken up and are this instance's now; asked for before `run`."""
        for task in tasks:
            if (left := self._left_at(task)) is None or left[0].take_up is None:
                raise ValueError(f"task {task.task_id} can't be taken up")
            agent, bridge = left
            session = left[0].take_up(bridge, task, task.time_left_s(self._clock.now_ms()))
            self._taken_up.append(self._runs.add(task, agent, bridge, session))

    async def drain(self, within_s: float) -> None:
        """Claim nothing more; runs may end within `within_s`, the rest, and those that are paused, are given back."""
        self._draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        with contextlib.suppress(TimeoutError):
            # A claim that is on its way to disk is a run after it, to be ended or given back.
            async with asyncio.timeout_at(deadline + GIVE_BACK_S), self._looking:
                pass
        await self._runs_gone(deadline)
        for run in self._runs:
            run.give_back()
        await self._runs_gone(loop.time() + GIVE_BACK_S)
        # What could not be given back is the others' from now on.
        self.stop_runs()

    async def _runs_gone(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while self._runs and loop.time() < deadline:
            for run in self._runs:
                if run.paused:
                    run.give_back()
            await self._wait_for_bell(deadline - loop.time())

    def _heard(self, channel: str, message: Message) -> None:
        if isinstance(message, Missed):
            self.look()
            for run in self._runs:
                run.ring()
        elif not isinstance(message, Ring):
            return
        elif channel == QUEUE:
            self.look()
        elif message.task_id is not None:
            self._runs.ring(message.task_id)

    async def _wait_for_bell(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()

    # --- one look at the queue --------------------------------------------------------------------------

    async def _dispatch(self, runs: asyncio.TaskGroup) -> float | None:
        """Start what can be started; when to look again, in s, where something still waits or its bell may be lost."""
        async with self._looking:
            if self._draining:
                return None
            if not self._holding.lives:
                return LOOK_AGAIN_S
            waiting, running = await asyncio.gather(
                self._store.pending_tasks(per_subject=PER_SUBJECT), self._store.leases.running_tasks()
            )
            now_ms = self._clock.now_ms()
            ready = [task for task in waiting if not _wait_ms(task, now_ms) and task.agent in self._registry]
            order = assign(ready, Counter(running), limit=self._running_per_subject, last=self._last_subject)
            started = [await self._try(task, runs) for task in order]
        self._waiting.forget({task.task_id for task in waiting})
        if self._offers is not None:
            self._offers.keep_only({task.task_id for task in waiting})
        if len(waiting) <= sum(started):
            return LOST_BELL_S if self._holding.is_leased else None
        due_ms = min(filter(None, (_wait_ms(task, now_ms) for task in waiting)), default=math.inf)
        return min(LOOK_AGAIN_S, due_ms / 1000)

    async def _try(self, task: TaskRecord, runs: asyncio.TaskGroup) -> bool:
        """Claim `task` and run it, if there is a place for it; whether it no longer waits."""
        agent = self._registry.get(task.agent)
        bridge = None
        if self._offers is not None and agent.is_heavy:
            self._offers.offer_nowait(task)
            return False
        if agent.takes_sandbox:
            want = await self._waiting.want_of(task, agent)
            bridge = self._pool.choose(want, taken=self._runs.placed)
            if bridge is None:
                return await self._no_place(task, want)
            self._waiting.placed(task, want)
        return await self._claim(task, agent, bridge, runs)

    async def _claim(
        self, task: TaskRecord, agent: Agent, bridge: Bridge | None, runs: asyncio.TaskGroup
    ) -> bool:
        if self._draining:
            return False
        sandbox_id = bridge.info.sandbox_id if bridge is not None and bridge.info is not None else None
        outlives_us = bridge is not None and bridge.address in self._separate and agent.take_up is not None
        place = _place_at(bridge.info, self._clock.new_id()) if bridge is not None and outlives_us else None
        limit = self._running_per_subject

        def claim(row: TaskRecord, standing: Standing) -> Change:
            if not may_claim(standing, limit=limit, is_leased=self._holding.is_leased):
                return Change()
            now_ms = self._clock.now_ms()
            return claimed(row, owner=self.instance, sandbox_id=sandbox_id, now_ms=now_ms, place=place)

        try:
            owned = await self._store.leases.assign(task.task_id, self.instance, claim)
        except GatewayError:
            return True  # cancelled or claimed by another in between
        if owned.owner != self.instance or not self._holding.lives:
            return False  # its subject's turn is over, or ours is
        self._last_subject = task.subject
        self._runs.start(self._runs.add(owned, agent, bridge), runs)
        return True

    async def _no_place(self, task: TaskRecord, want: Want | None) -> bool:
        """Busy sandboxes are waited for; where none would fit for `queue_s` on end, the task fails."""
        if not self._waiting.is_over(task, want, now_ms=self._clock.now_ms()):
            return False
        message = f"For {self._queue_s:.0f} s no live sandbox would have fitted."

        def decide(row: TaskRecord) -> Change:
            if row.status is not TaskStatus.PENDING:
                return Change()  # cancelled or claimed by another in between, it is theirs
            return failed(row, "no_sandbox", message, now_ms=self._clock.now_ms(), details={})

        with contextlib.suppress(GatewayError):  # deleted
            await self._store.change_task(task.task_id, decide)
        return True


def _wait_ms(task: TaskRecord, now_ms: int) -> int:
    """How long its back-off lasts; one that is too long for that was written by another clock."""
    left_ms = task.not_before - now_ms
    return left_ms if 0 < left_ms <= MAX_BACK_OFF_MS else 0


def _place_at(info: SandboxInfo | None, session_id: str) -> dict[str, str] | None:
    """Where a session outlives its bridge, for a takeover to find; None where the sandbox knows of no such."""
    if info is None or not info.extended:
        return None
    return {"address": info.address, "boot_id": info.boot_id, "session_id": session_id}
