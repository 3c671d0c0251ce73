"""The bridge to one sandbox: one connection, kept up, that carries many sessions.

`Bridge.run` dials, shakes hands, lets a `Link` carry the frames until the connection ends, and dials again.
When a connection goes, its sessions stay in the `CallTable` for a while, and go on if the sandbox still has
them. The bridge needs no clock and no socket of its own: it lives on its loop's time and on the
`FrameTransport` it is given.

    run ── dial ── serve ── Handshake ── Link ──┬── read: transport -> Call.deliver / complete / fail
                                                └── write: CallTable.next_frame -> transport
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import structlog

from sandbox_bridge.bridge_session import BridgeSession
from sandbox_bridge.call import CallTimes
from sandbox_bridge.call_table import CallTable
from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import PROTOCOL_BROKEN, SandboxBusy, SandboxLost, TransportClosed
from sandbox_bridge.handshake import DialIn, Handshake, SandboxInfo, Trust
from sandbox_bridge.link import Link
from sandbox_bridge.protocol import HELLO_TIMEOUT_S, RESUME_S, Health, SessionOrder
from sandbox_bridge.spec import FormerSession, TaskSpec

__all__ = ["Bridge", "BridgeSession", "BridgeTimes", "FormerSession", "SandboxInfo", "TaskSpec"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeTimes:
    """How long the bridge waits for what."""

    dial_s: float = 10.0
    answer_s: float = HELLO_TIMEOUT_S
    """For the `hello` or the `health` that answers ours."""
    send_s: float = 30.0
    """For a frame to be taken; a sandbox that takes nothing for so long is as good as gone."""
    close_s: float = 1.0
    """For the last words and the closing handshake, each."""
    busy_s: float = 0.5
    """Without room after the sandbox said `busy`, which it does when others use it too."""
    backoff_base_s: float = 0.1
    backoff_max_s: float = 5.0
    """Of the wait before dialling again; also how long a connection must have held to begin at the base."""
    resume_s: float = RESUME_S
    """How long sessions are kept without a connection, from the last that was heard over it."""
    redial_s: float = 2.0
    """For an attempt to connect while sessions are kept, so that there is time for another."""
    redial_backoff_max_s: float = 1.0
    """Of the wait between such attempts. The first one comes at once."""
    call: CallTimes = field(default_factory=CallTimes)


DEFAULT_TIMES = BridgeTimes()


class Bridge:
    """One sandbox, met over the connections that `dial` makes, each with `TransportClosed` if it can't.

    `on_change` is called after each change of `info`, `active` or `free`; it must not wait. `random` spreads
    the attempts to reconnect. A dialled sandbox has `trust` `server`: whoever configured its address vouches.
    """

    def __init__(
        self,
        dial: Callable[[], Awaitable[FrameTransport]],
        *,
        address: str,
        random: Random,
        on_change: Callable[[], None] | None = None,
        trust: Trust = "server",
        wall_clock: Callable[[], float] = time.time,
        times: BridgeTimes = DEFAULT_TIMES,
    ) -> None:
        self.address = address
        self.problem: str | None = "not connected yet"
        """Why there is no connection, while there is none."""
        self._dial = dial
        self._random = random
        # As it is, not by way of a method of ours: what we have made would have us, and wait for the collector.
        self._changed = on_change or _nothing
        self._wall_clock = wall_clock
        self._times = times
        self._handshake = Handshake(address=address, trust=trust, answer_s=times.answer_s)
        self._table = CallTable(on_change=self._changed, busy_s=times.busy_s, call_times=times.call)
        # Present while connected.
        self._link: Link | None = None

    def __repr__(self) -> str:
        info = self.info
        if info is None:
            return f"<Bridge {self.address} down: {self.problem}>"
        spoken = info.runtime if info.extended else "core"
        return f"<Bridge {self.address} {spoken} {self.active}/{info.max_sessions}>"

    @property
    def info(self) -> SandboxInfo | None:
        """Who is there, while connected."""
        return self._link.info if self._link is not None else None

    @property
    def active(self) -> int:
        """Sessions that the sandbox has, or may still have, also while there is no connection."""
        return len(self._table.calls)

    @property
    def free(self) -> int:
        """Sessions that there is room for now."""
        return self._table.free if self._link is not None else 0

    def open(self, session_id: str, spec: TaskSpec, *, stream: bool = True) -> BridgeSession:
        """A session that runs `spec`: it takes its place now, and starts when the writer comes to it.

        To be entered (`async with`) at once. Raises `SandboxBusy`; `ValueError` for an id in use.
        """
        if self._link is None:
            raise SandboxBusy(f"{self.address} is not connected: {self.problem}")
        if session_id in self._table.calls:
            raise ValueError(f"session {session_id} is open already")
        if self._table.free == 0:
            raise SandboxBusy(f"{self.address} has no room")
        return BridgeSession(self._table.open(session_id, spec, stream=stream))

    def adopt(self, session_id: str, former: FormerSession) -> BridgeSession:
        """The session that another process has left at this sandbox, to be gone on with by the next connection.

        Asked for before `run`, and to be entered at once. It is lost where no connection comes within `resume_s`
        from now, or the sandbox has it no more.
        """
        self._handshake.expect_hello()
        return BridgeSession(self._table.adopt(session_id, former, keep_s=self._times.resume_s))

    def close_session(self, session_id: str) -> bool:
        """Have the sandbox end a session, whoever began it, and the site that it has left.

        Returns whether there is a connection to tell it over.
        """
        if self._link is None:
            return False
        self._link.close_session(session_id)
        return True

    def end_former(self, session_id: str) -> None:
        """Have the sandbox end a session that another process has left there: now, or once there is a connection."""
        if not self.close_session(session_id):
            self._table.strays.append(session_id)

    async def health(self) -> Health:
        """What the sandbox answers to `health_check`. Raises `SandboxLost` when no answer comes."""
        if self._link is None:
            raise SandboxLost(f"{self.address} is not connected: {self.problem}")
        return await self._link.health()

    async def run(self) -> None:
        """Keep the connection up until cancelled; then end all sessions and close it."""
        failures = 0
        try:
            while True:
                held_s = await self._connect_once()
                if held_s > self._times.backoff_max_s:
                    failures = 0
                await asyncio.sleep(self._random.uniform(0, self._back_off_s(failures)))
                failures += 1
        finally:
            self._table.lose(self.problem or "the bridge was closed")

    def _back_off_s(self, failures: int) -> float:
        """The longest wait before dialling again."""
        times = self._times
        back_off_s = times.backoff_base_s * 2.0 ** min(failures, 16)
        if self._table.is_waiting:
            return min(times.redial_backoff_max_s, back_off_s) if failures else 0.0
        return min(times.backoff_max_s, back_off_s)

    async def _connect_once(self) -> float:
        """One connection from dialling to its end; returns how long it held, in seconds."""
        within_s = self._times.redial_s if self._table.is_waiting else self._times.dial_s
        try:
            async with asyncio.timeout(within_s):
                transport = await self._dial()
        except TimeoutError:
            self._set_problem(f"no connection within {within_s:g} s")
            return 0.0
        except TransportClosed as error:
            self._closed(error)
            return 0.0
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            await self.serve(transport)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * self._times.close_s):
                    await transport.aclose()
        return loop.time() - began_at

    async def serve(self, transport: FrameTransport, handshake: Handshake | DialIn | None = None) -> None:
        """Shake hands, then carry sessions for as long as `transport` lasts.

        For connections that somebody else has made, with their `handshake`; one at a time.
        """
        handshake = handshake or self._handshake
        orders = self._table.orders(handshake.there)
        kills = [SessionOrder(session_id=stray, action="kill") for stray in self._table.strays]
        try:
            greeting = await handshake.perform(transport, [*orders, *kills])
        except TransportClosed as error:
            self._closed(error)
            return
        self._table.strays.clear()
        self._table.begin(greeting.info, greeting.offers)
        link = self._link = self._link_over(transport, greeting.info, handshake)
        for order in orders:
            if order.session_id not in self._table.calls and link.info.extended:
                # It was given up while the sandbox was told to go on with it, and would run on for nobody.
                link.close_session(order.session_id)
        self.problem = None
        log.info("sandbox connected", address=self.address, extended=link.info.extended)
        self._changed()
        try:
            end = await link.serve()
        except asyncio.CancelledError:
            await link.end_sessions(self._times.close_s)
            self._link = None
            self._closed(TransportClosed("the bridge was closed", is_final=True))
            raise
        self._link = None
        self._closed(end, keeps_sessions=link.info.extended)
        if end.is_final:
            await transport.aclose(PROTOCOL_BROKEN)

    def _closed(self, end: TransportClosed, *, keeps_sessions: bool = False) -> None:
        """There is no connection: sessions are kept, where there is hope for them."""
        self._set_problem(str(end))
        if keeps_sessions and not end.is_final:
            self._table.suspend(str(end), keep_s=self._times.resume_s - end.silent_s)
        elif end.is_final or not self._table.is_waiting:
            self._table.lose(str(end))
        self._changed()

    def _link_over(self, transport: FrameTransport, info: SandboxInfo, handshake: Handshake | DialIn) -> Link:
        return Link(
            transport,
            info,
            self._table,
            info_of=handshake.info_of,
            on_change=self._changed,
            wall_clock=self._wall_clock,
            send_s=self._times.send_s,
            answer_s=self._times.answer_s,
        )

    def _set_problem(self, problem: str) -> None:
        if problem != self.problem:
            log.info("sandbox not connected", address=self.address, problem=problem)
        self.problem = problem


def _nothing() -> None:
    pass
