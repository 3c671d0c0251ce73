"""The machine that gateways run on, one after another over the same data directory."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.bus.base import Message
from gateway.clock import Clock
from gateway.events import TaskEvents
from gateway.server.app import Gateway
from gateway.server.world import World
from gateway.settings import Settings
from gateway.state.sqlite.store import SqliteStore
from tests.simulation.process import Process
from tests.simulation.sightings import Sightings
from tests.simulation.sim_bus import Middle, SimBus
from tests.simulation.sim_disk import SimDisk
from tests.simulation.sim_loop import SimLoop
from tests.support.waiting import let_pass

GATEWAY_PORT: Final = 80
LIMIT: Final = 2
"""How many tasks of a subject run at once, on all instances."""
EPOCH_MS: Final = 1_800_000_000_000
"""When every seed begins."""


class Host:
    """Starts gateways, and ends them as operators and crashes do. With a `middle` they are one of many."""

    def __init__(
        self,
        loop: SimLoop,
        rng: random.Random,
        data_dir: Path,
        sandbox_url: str,
        *,
        sightings: Sightings,
        middle: Middle | None = None,
    ) -> None:
        self.is_busy = False
        """Whether something befalls it now."""
        self._loop = loop
        self._rng = rng
        self._sightings = sightings
        self._middle = middle
        self._settings = Settings(
            _env_file=None,
            port=GATEWAY_PORT,
            data_dir=data_dir,
            event_bus_backend="memory" if middle is None else "redis",
            local_sandbox=False,
            websocket_url=(sandbox_url,),
            heartbeat_ms=5000,
            drain_s=1.0,
            request_burst=1000,
            max_running_per_subject=LIMIT if middle is not None else 32,
        )
        self._gateway: Gateway
        self._process: Process
        self._serving: asyncio.Task[None]
        self._stop: asyncio.Event

    @property
    def gateway(self) -> Gateway:
        """The one that was started last."""
        return self._gateway

    async def start(self) -> None:
        """A gateway that is ready. Raises what kept it from that."""
        clock = Clock(
            now_ms=lambda: EPOCH_MS + int(self._loop.time() * 1000), rng=random.Random(self._rng.random())
        )
        executor, up, self._stop = SimDisk(self._loop), asyncio.Event(), asyncio.Event()
        log = self._sightings.log(self._loop)
        process = self._process = Process(self._loop)
        bus = self._middle.join if self._middle is not None else None
        world = World(clock, executor, executor, bus=bus, intake=None)
        gateway = self._gateway = process.run(lambda: Gateway(self._settings, world, log=log))
        serving = gateway.serve(ready=lambda _url: up.set(), stop=self._stop)
        self._serving = process.start(serving, "gateway")
        ready = self._loop.create_task(up.wait())
        await asyncio.wait([ready, self._serving], return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            ready.cancel()
            self._serving.result()

    @property
    def process(self) -> Process:
        """That of the gateway that was started last."""
        return self._process

    @property
    def bus(self) -> SimBus:
        """That of the gateway that was started last, where it is one of many."""
        bus = self._gateway._bus
        assert isinstance(bus, SimBus)
        return bus

    @property
    def works_on(self) -> set[str]:
        """The tasks whose agents are at work here, as far as this process does anything."""
        if not self._process.is_alive or self._process.is_stopped:
            return set()
        at_work = [r for r in self._gateway._dispatcher._runs if r._working is not None]
        return {run.task.task_id for run in at_work if run._working is not None and not run._working.done()}

    def kill(self) -> None:
        """Kill -9."""
        self._end(self._process, self._gateway)

    def _end(self, process: Process, gateway: Gateway) -> None:
        self._count(gateway)
        process.kill()
        # What the kernel does with a dead process' files.
        store = gateway._store
        assert isinstance(store, SqliteStore)
        for connection in (*store._connections, store._writing._connection):
            if connection is not None:
                connection.close()
        (self._settings.data_dir / "lock").unlink(missing_ok=True)

    async def stop(self) -> None:
        """SIGTERM, to the end."""
        self._stop.set()
        await self._serving
        self._count(self._gateway)

    async def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after `seconds`."""
        self._process.stop()
        await let_pass(seconds)
        self._process.go_on()

    async def haunt(self, frozen_s: float, thawed_s: float) -> None:
        """Start another while the former is frozen and has lost its lock: when it goes on, it owns nothing any more.

        It is killed soon, and the other with it, since what the zombie has claimed nobody else would take up.
        """
        process, gateway = self._process, self._gateway
        process.stop()
        (self._settings.data_dir / "lock").unlink()
        await let_pass(frozen_s)
        await self.start()
        process.go_on()
        await let_pass(thawed_s)
        self._end(process, gateway)
        self.kill()
        await self.start()

    async def lose_announcements(self, rng: random.Random, share: float, seconds: float) -> None:
        """A bus may lose what it is given; but the last one of a log is not lost here, as nothing follows it."""
        bus = self._gateway._bus
        publish, before = bus.publish_nowait, self._behind(self._gateway)

        def lossy(messages: Sequence[tuple[str, Message]]) -> None:
            publish([pair for pair in messages if _is_needed(pair[1]) or rng.random() >= share])

        bus.publish_nowait = lossy  # type: ignore[method-assign]
        await let_pass(seconds)
        bus.publish_nowait = publish  # type: ignore[method-assign]
        self._sightings["live to behind: a jump"] += self._behind(self._gateway) - before

    def check(self) -> None:
        """Raise what ended a gateway that should run."""
        if self._serving.done() and not self._serving.cancelled():
            self._serving.result()

    def _count(self, gateway: Gateway) -> None:
        self._sightings["live to behind: fed from the log"] += self._behind(gateway)

    def _behind(self, gateway: Gateway) -> int:
        return int(gateway._metrics.lagging._value.get())


def _is_needed(message: Message) -> bool:
    return not isinstance(message, TaskEvents) or message.events[-1].final
