"""The runs of this instance: the asyncio task of each, and the sandbox slots that they take."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from structlog.typing import FilteringBoundLogger

from gateway.agents.runner import Agent
from gateway.clock import Clock
from gateway.metrics import Metrics
from gateway.state.base import StateStore
from gateway.tasks import ENDED, TaskRecord
from gateway.work.run import Run
from gateway.work.run_metrics import RunMetrics
from sandbox_bridge.bridge import Bridge, BridgeSession


class Runs:
    """By task; `on_change` is called when one has paused, gone on or ended. `placed` counts the places taken."""

    def __init__(
        self,
        store: StateStore,
        clock: Clock,
        metrics: Metrics,
        *,
        hold_s: float,
        on_change: Callable[[], None],
        log: FilteringBoundLogger,
    ) -> None:
        self.placed: Counter[Bridge] = Counter()
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._hold_s = hold_s
        self._on_change = on_change
        self._log = log
        self._runs: dict[str, Run] = {}
        # What carries those that were started; each is of the group that it was started in.
        self._carried: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._runs

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def add(
        self, owned: TaskRecord, agent: Agent, bridge: Bridge | None, session: BridgeSession | None = None
    ) -> Run:
        """The run of a task that this instance owns; to be started."""
        run = self._runs[owned.task_id] = Run(
            owned,
            agent,
            bridge=bridge,
            session=session,
            store=self._store,
            clock=self._clock,
            hold_s=self._hold_s,
            on_change=self._on_change,
            log=self._log,
        )
        if bridge is not None:
            self.placed[bridge] += 1
        run.watched_by(RunMetrics(self._metrics, in_sandbox=bridge is not None and session is None))
        return run

    def start(self, run: Run, group: asyncio.TaskGroup) -> None:
        """Carry it to its end."""
        task_id = run.task.task_id
        self._carried[task_id] = group.create_task(self._carry(run), name=f"run {task_id}")

    def ring(self, task_id: str) -> None:
        """Tell a task's run, if it is here, that something else is wished of it."""
        if task_id in self._runs:
            self._runs[task_id].ring()

    def stop(self) -> None:
        """End all of them here and now, and write nothing of it: their tasks may be another's already."""
        for carried in self._carried.values():
            carried.cancel()

    async def _carry(self, run: Run) -> None:
        self._metrics.running.inc()
        try:
            with self._metrics.run_seconds.time():
                status = await run.execute()
            if status in ENDED:
                self._metrics.ended.labels(str(status)).inc()
        except Exception:  # noqa: BLE001 - one run's failure must not end the others
            self._log.exception("a run failed; its task is put back", run=repr(run))
        finally:
            self._metrics.running.dec()
            self._remove(run)
            self._on_change()

    def _remove(self, run: Run) -> None:
        del self._runs[run.task.task_id]
        self._carried.pop(run.task.task_id, None)
        if run.bridge is not None:
            self.placed[run.bridge] -= 1
            self.placed += Counter()  # without those that have none
