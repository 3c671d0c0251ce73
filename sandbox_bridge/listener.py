"""Sandboxes that dial in: one `Bridge` for each, which is kept for a while when its connection is lost.

Whoever has let them in says whose they are and whether they are trusted; what they say of themselves is
bounded here.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import orjson
import structlog

from sandbox_bridge.bridge import DEFAULT_TIMES, Bridge, BridgeTimes
from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import PROTOCOL_BROKEN, TransportClosed
from sandbox_bridge.handshake import DialIn, Trust
from sandbox_bridge.pool import Pool
from sandbox_bridge.protocol import PROTOCOL, ProtocolError, SandboxHello, encode, parse_from_sandbox

MAX_PER_SUBJECT = 32
"""Sandboxes of one subject, whether connected or waited for. A browser is one a tab."""
MAX_SESSIONS = 64
"""What a sandbox is given at once, however many it says that it takes."""
MAX_HELLO_BYTES = 16 << 10
"""A sandbox's words about itself are kept and shown."""
MAX_NAME_CHARS = 200
TAKE_OVER_S = 5.0
"""For the former connection of a sandbox to end once it has dialled anew."""

OVERLOADED = 1013
RETRY_MS = 10_000

log = structlog.get_logger(__name__)


class _RefusedError(Exception):
    """A sandbox that is not let in, with the close code for it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True, eq=False)
class _Guest:
    """A sandbox that dialled in, and the connection that it has."""

    bridge: Bridge
    transport: FrameTransport | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a connection is carried."""
    connections: int = 0
    """With those that wait for the former one's end."""


class Listener:
    """Has sandboxes in `pool` while they are connected, or waited for. `on_change` as for a `Bridge`."""

    def __init__(
        self,
        pool: Pool,
        *,
        on_change: Callable[[], None],
        random: Random,
        times: BridgeTimes = DEFAULT_TIMES,
    ) -> None:
        self._pool = pool
        self._on_change = on_change
        self._random = random
        self._times = times
        self._guests: dict[str, _Guest] = {}

    async def accept(self, transport: FrameTransport, *, subject: str, trust: Trust) -> None:
        """Carry the sessions of the sandbox behind `transport`, which is `subject`'s, until it is gone.

        One that is not wanted is told why by a `goodbye`. The transport is closed in the end. Cancelled, the
        sandbox's sessions end; a transport that breaks leaves them waiting for another.
        """
        try:
            hello = await self._hello(transport)
            guest = self._guest(hello, subject, trust)
            await self._serve(guest, transport, DialIn(hello, guest.bridge.address, trust, subject))
        except _RefusedError as refusal:
            log.warning("sandbox refused", subject=subject, reason=str(refusal))
            await self._tell(transport, refusal)
        except TransportClosed as error:
            log.info("sandbox gone before its hello", subject=subject, problem=str(error))
        finally:
            self._tidy()
            await transport.aclose()

    async def _serve(self, guest: _Guest, transport: FrameTransport, handshake: DialIn) -> None:
        guest.connections += 1
        try:
            await self._take_over(guest, transport, handshake)
        finally:
            guest.connections -= 1

    async def _take_over(self, guest: _Guest, transport: FrameTransport, handshake: DialIn) -> None:
        if guest.transport is not None:
            # It has come anew: whatever its former socket was, it is of no use any more.
            await guest.transport.aclose()
        await _taken(guest.lock)
        try:
            guest.transport = transport
            await guest.bridge.serve(transport, handshake)
        finally:
            guest.transport = None
            guest.lock.release()

    async def _hello(self, transport: FrameTransport) -> SandboxHello:
        try:
            async with asyncio.timeout(self._times.answer_s):
                hello = parse_from_sandbox(await transport.recv())
        except TimeoutError:
            raise _RefusedError(PROTOCOL_BROKEN, f"no hello within {self._times.answer_s:g} s") from None
        except ProtocolError as error:
            raise _RefusedError(PROTOCOL_BROKEN, f"the first frame is a hello: {error}") from None
        if not isinstance(hello, SandboxHello) or hello.protocol != PROTOCOL:
            raise _RefusedError(PROTOCOL_BROKEN, f"the first frame is a hello of {PROTOCOL}")
        if (problem := _problem_of(hello)) is not None:
            raise _RefusedError(PROTOCOL_BROKEN, f"hello: {problem}")
        return hello.model_copy(update={"max_sessions": min(hello.max_sessions, MAX_SESSIONS)})

    async def _tell(self, transport: FrameTransport, refusal: "_RefusedError") -> None:
        goodbye = {
            "type": "goodbye",
            "code": refusal.code,
            "reason": str(refusal)[:500],
            "reconnect": refusal.code == OVERLOADED,
            "reconnect_in_ms": RETRY_MS if refusal.code == OVERLOADED else None,
        }
        with contextlib.suppress(TimeoutError, TransportClosed):
            async with asyncio.timeout(self._times.close_s):
                await transport.send(encode(goodbye))
        await transport.aclose(refusal.code)

    def _guest(self, hello: SandboxHello, subject: str, trust: Trust) -> _Guest:
        """Who is known by that name, or a new one."""
        # Quoted, so that nobody's name runs into another's.
        prefix = f"dialled in: {trust} of {subject!r}: "
        address = prefix + hello.sandbox_id
        if address not in self._guests:
            if sum(known.startswith(prefix) for known in self._guests) >= MAX_PER_SUBJECT:
                raise _RefusedError(OVERLOADED, f"{MAX_PER_SUBJECT} sandboxes of {subject} are here")
            bridge = Bridge(
                _nobody_dials,
                address=address,
                random=self._random,
                on_change=self._changed,
                trust=trust,
                times=self._times,
            )
            self._guests[address] = _Guest(bridge)
            self._pool.add(bridge)
        return self._guests[address]

    def _changed(self) -> None:
        self._tidy()
        self._on_change()

    def _tidy(self) -> None:
        """Forget who is gone and has nothing left that could go on."""
        for address, guest in list(self._guests.items()):
            if not guest.connections and not guest.bridge.active:
                del self._guests[address]
                self._pool.remove(guest.bridge)
                self._on_change()


async def _taken(lock: asyncio.Lock) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TAKE_OVER_S):
            await lock.acquire()
            return
    raise _RefusedError(OVERLOADED, "the former connection of this sandbox has not ended yet")


async def _nobody_dials() -> FrameTransport:
    raise TransportClosed("it dials in")


def _problem_of(hello: SandboxHello) -> str | None:
    names = (hello.sandbox_id, hello.boot_id, hello.runtime)
    if not all(0 < len(name) <= MAX_NAME_CHARS for name in names):
        return f"sandbox_id, boot_id and runtime have 1 to {MAX_NAME_CHARS} characters"
    said = {"isolation": hello.isolation, "capabilities": hello.capabilities, "labels": hello.labels}
    try:
        size = len(orjson.dumps(said))
    except (TypeError, ValueError):
        return "isolation is not JSON that can be passed on"
    return f"more than {MAX_HELLO_BYTES} bytes about itself" if size > MAX_HELLO_BYTES else None
