"""What goes wrong in a seed: some kinds of it, drawn, at random times until the weather clears up."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gateway.errors import StoreUnavailableError
from tests.simulation.host import GATEWAY_PORT, Host
from tests.simulation.sim_bus import Middle
from tests.simulation.sim_loop import SimLoop
from tests.support.fake_sandbox import FakeSandbox
from tests.support.waiting import let_pass

CLEARS_UP_S: Final = 30.0
"""Nothing begins to go wrong after so many virtual seconds."""


@dataclass
class Fault:
    """Something that went wrong, from when to when; `hurts` is whether a wish may take longer then."""

    kind: str
    begin: float
    end: float
    hurts: bool

    def __str__(self) -> str:
        return f"{self.begin:9.3f} … {self.end:9.3f}  {self.kind}"


class Weather:
    """Makes it, and keeps a record of it; of the kinds that are `wanted`, where any are."""

    def __init__(
        self,
        loop: SimLoop,
        rng: random.Random,
        hosts: Sequence[Host],
        sandbox: FakeSandbox,
        *,
        middle: Middle | None,
    ) -> None:
        self.record: list[Fault] = []
        self.wanted: Sequence[str] = ()
        self._loop = loop
        self._rng = rng
        self._hosts = hosts
        self._host = hosts[0]
        self._sandbox = sandbox
        self._sandbox_port = sandbox._port
        self._places = sandbox.max_sessions
        self._middle = middle
        self._kinds = KINDS if middle is None else FLEET_KINDS
        self._boots = 1

    def is_fair(self, begin: float, end: float) -> bool:
        """Whether nothing was wrong in between that a wish may wait for."""
        return not any(fault.hurts and fault.begin < end and fault.end > begin for fault in self.record)

    async def run(self) -> None:
        """Let things go wrong, one at a time, until it clears up."""
        kinds = ["clients cut", *self._rng.sample(list(self._kinds), self._rng.choice((1, 2, 2, 3)))]
        if self._middle is not None:
            kinds.append(self._rng.choice(("one killed", "one frozen", "one cut from the store")))
        kinds = [*self.wanted] or kinds
        while True:
            await let_pass(self._rng.uniform(0.2, 5.0))
            if self._loop.time() >= CLEARS_UP_S:
                return
            kind = self._rng.choice(kinds)
            fault = Fault(kind, self._loop.time(), float("inf"), hurts=kind != "clients cut")
            self.record.append(fault)
            await self._kinds[kind](self)
            fault.end = self._loop.time()

    # --- clients ----------------------------------------------------------------------------------------

    async def _cut_clients(self) -> None:
        self._loop.network.cut(GATEWAY_PORT)

    async def _hold_clients(self) -> None:
        await self._hold(GATEWAY_PORT, self._rng.choice((1.0, 4.0, 12.0)), share=self._rng.choice((0.3, 1.0)))

    async def _hold(self, port: int, seconds: float, *, share: float = 1.0) -> None:
        self._loop.network.hold(port, self._loop.time() + seconds, share=share)
        await let_pass(seconds)

    # --- the sandbox ------------------------------------------------------------------------------------

    async def _cut_sandbox(self) -> None:
        self._loop.network.cut(self._sandbox_port)
        await let_pass(1.0)

    async def _hold_sandbox(self) -> None:
        await self._hold(self._sandbox_port, self._rng.choice((1.0, 5.0, 9.0, 12.0)))

    async def _sandbox_away(self) -> None:
        seconds = self._rng.choice((2.0, 6.0, 10.0))
        self._loop.network.refuse(self._sandbox_port, self._loop.time() + seconds)
        self._loop.network.cut(self._sandbox_port)
        await let_pass(seconds + 1.0)

    async def _restart_sandbox(self) -> None:
        self._boots += 1
        self._sandbox.restart(f"boot-{self._boots}")
        await let_pass(1.0)

    async def _sandbox_busy(self) -> None:
        self._sandbox.max_sessions = self._rng.choice((0, 1))
        await let_pass(self._rng.uniform(1.0, 4.0))
        self._sandbox.max_sessions = self._places

    async def _forget(self) -> None:
        for session_id in list(self._sandbox.sessions):
            self._sandbox.forget(session_id)
        self._sandbox.drop()
        await let_pass(1.0)

    # --- the gateway ------------------------------------------------------------------------------------

    async def _kill(self) -> None:
        self._host.kill()
        await let_pass(self._rng.choice((0.05, 0.5, 3.0)))
        await self._host.start()

    async def _drain(self) -> None:
        await self._host.stop()
        await let_pass(self._rng.choice((0.05, 0.5)))
        await self._host.start()

    async def _freeze(self) -> None:
        await self._host.freeze(self._rng.choice((1.0, 5.0, 12.0)))

    async def _haunt(self) -> None:
        await self._host.haunt(self._rng.uniform(0.1, 3.0), self._rng.uniform(0.3, 2.0))

    async def _lose_announcements(self) -> None:
        await self._host.lose_announcements(self._rng, self._rng.choice((0.1, 0.5)), 3.0)

    async def _fail_disk(self) -> None:
        seconds = self._rng.choice((0.05, 0.5, 2.5))
        self._loop.disk_fails_until = self._loop.time() + seconds
        await let_pass(seconds)

    # --- one of many instances --------------------------------------------------------------------------

    @asynccontextmanager
    async def _one(self) -> AsyncIterator[Host | None]:
        """One that nothing else befalls meanwhile, if there is one."""
        idle = [host for host in self._hosts if not host.is_busy]
        if not idle:
            await let_pass(0.5)
            yield None
            return
        host = self._rng.choice(idle)
        host.is_busy = True
        try:
            yield host
        finally:
            host.is_busy = False

    async def _started(self, host: Host) -> None:
        """Start it, again and again while the disk does not let it."""
        while True:
            try:
                return await host.start()
            except StoreUnavailableError:
                await let_pass(0.5)

    async def _kill_one(self) -> None:
        async with self._one() as host:
            if host is not None:
                host.kill()
                await let_pass(self._rng.choice((0.05, 3.0, 20.0)))
                await self._started(host)

    async def _drain_one(self) -> None:
        async with self._one() as host:
            if host is not None:
                try:
                    await host.stop()
                except StoreUnavailableError:  # its last act was to close the store
                    host.kill()
                await let_pass(self._rng.choice((0.05, 3.0)))
                await self._started(host)

    async def _freeze_one(self) -> None:
        async with self._one() as host:
            if host is not None:
                await host.freeze(self._rng.choice((1.0, 7.0, 9.0, 11.0, 14.0, 25.0)))

    async def _cut_from_store(self) -> None:
        async with self._one() as host:
            if host is not None:
                seconds = self._rng.choice((0.5, 9.0, 20.0, 20.0))
                host.process.store_away_until = self._loop.time() + seconds
                await let_pass(seconds)

    async def _cut_from_bus(self) -> None:
        async with self._one() as host:
            if host is not None:
                seconds = self._rng.choice((1.0, 5.0, 15.0))
                host.bus.cut_until = self._loop.time() + seconds
                await let_pass(seconds)

    async def _empty_bus(self) -> None:
        """Redis is gone, and comes back without anything that it had."""
        seconds = self._rng.choice((0.5, 3.0, 10.0))
        for host in self._hosts:
            host.bus.cut_until = self._loop.time() + seconds
        await let_pass(seconds)

    async def _lossy_bus(self) -> None:
        if self._middle is not None:
            self._middle.share = self._rng.choice((0.1, 0.5))
            self._middle.lossy_until = self._loop.time() + 4.0
        await let_pass(4.0)


KINDS: Final[dict[str, Callable[[Weather], Awaitable[None]]]] = {
    "clients cut": Weather._cut_clients,
    "clients held": Weather._hold_clients,
    "sandbox cut": Weather._cut_sandbox,
    "sandbox held": Weather._hold_sandbox,
    "sandbox away": Weather._sandbox_away,
    "sandbox restarted": Weather._restart_sandbox,
    "sandbox busy": Weather._sandbox_busy,
    "sandbox forgetful": Weather._forget,
    "bus lossy": Weather._lose_announcements,
    "gateway killed": Weather._kill,
    "gateway drained": Weather._drain,
    "gateway frozen": Weather._freeze,
    "gateway haunted": Weather._haunt,
    "disk failing": Weather._fail_disk,
}
"""All that can go wrong with one instance."""
FLEET_KINDS: Final[dict[str, Callable[[Weather], Awaitable[None]]]] = {
    "clients cut": Weather._cut_clients,
    "clients held": Weather._hold_clients,
    "sandbox cut": Weather._cut_sandbox,
    "sandbox held": Weather._hold_sandbox,
    "sandbox restarted": Weather._restart_sandbox,
    "sandbox busy": Weather._sandbox_busy,
    "disk failing": Weather._fail_disk,
    "bus lossy for all": Weather._lossy_bus,
    "bus gone for all": Weather._empty_bus,
    "one cut from the bus": Weather._cut_from_bus,
    "one cut from the store": Weather._cut_from_store,
    "one killed": Weather._kill_one,
    "one drained": Weather._drain_one,
    "one frozen": Weather._freeze_one,
}
"""All that can go wrong with many."""
