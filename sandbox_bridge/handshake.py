"""Finding out who is there and how to talk: `hello`, or else the core protocol.

Whom we dial we greet first (`Handshake`); who dials in has said `hello` already (`DialIn`).
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import TransportClosed
from sandbox_bridge.protocol import (
    HELLO_TIMEOUT_S,
    PROTOCOL,
    BridgeHello,
    FromSandbox,
    Health,
    HealthCheck,
    ProtocolError,
    ResumeOffer,
    SandboxHello,
    SessionOrder,
    encode,
    parse_from_sandbox,
)

Trust = Literal["server", "client"]

_NOT_ABOUT_HELLO = {1001, 1012, 1013}
"""Close codes that say the service is going or overloaded: no verdict on the `hello` that it was sent."""
BROKEN_GREETINGS = 3
"""A connection that breaks is no verdict either, as the network may do that. After so many in a row one is tried
without a `hello`; the next is greeted again."""


@dataclass(frozen=True, slots=True)
class SandboxInfo:
    """A connected sandbox in its own words, but for what is ours: `address`, `trust`, `subject`, `extended`."""

    address: str
    sandbox_id: str
    boot_id: str
    runtime: str
    max_sessions: int
    capabilities: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    isolation: Mapping[str, Any] = field(default_factory=dict)
    trust: Trust = "server"
    subject: str | None = None
    """Whose it is, where it dialled in."""
    extended: bool = False
    """It said `hello`: the extensions may be used."""
    tells_input_taken: bool = False
    """It tells how far a task's input is with its commands."""
    max_timeout_s: float | None = None
    """The most that a task there may ask for, where it says so."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a handshake has found out: who is there, and which sessions it still has."""

    info: SandboxInfo
    offers: Sequence[ResumeOffer] = ()


class Handshake:
    """How to begin with the sandbox at one address; remembers what it learned there."""

    there: None = None
    """Who it is with: only its `hello` will tell."""

    def __init__(self, *, address: str, trust: Trust, answer_s: float = HELLO_TIMEOUT_S) -> None:
        self._address = address
        self._trust: Trust = trust
        self._answer_s = answer_s
        # The sandbox has returned a `hello` before, or closed the connection when it was greeted first: then
        # it gets none again.
        self._was_returned = False
        self._core_only = False
        # Connections in a row that broke, without a close, before the first `hello` was returned.
        self._broken = 0

    def expect_hello(self) -> None:
        """The sandbox is known to return it: a connection that breaks before it does is no refusal."""
        self._was_returned, self._core_only = True, False

    async def perform(self, transport: FrameTransport, orders: Sequence[SessionOrder] = ()) -> Greeting:
        """Say `hello` and see; a sandbox that does not return it is asked how many sessions it takes.

        With `orders` to go on with sessions, nothing but a `hello` will do. Raises `TransportClosed`.
        """
        greets = not self._core_only and self._broken < BROKEN_GREETINGS
        if greets:
            hello = await self._greet(transport, orders)
            if _is_ours(hello):
                return self._returned(hello)
            if any(order.action == "continue" for order in orders):
                raise TransportClosed("the sandbox did not return the hello")
        health = await self._ask(transport, HealthCheck(type="health_check"))
        self._broken = 0
        if greets and _is_ours(health):
            # Of a sandbox that is slow, or far away, the hello is what comes first.
            return self._returned(health)
        info = SandboxInfo(
            address=self._address,
            sandbox_id=self._address,
            boot_id="",
            runtime="unknown",
            max_sessions=max(1, health.max_sessions) if isinstance(health, Health) else 1,
            trust=self._trust,
        )
        return Greeting(info)

    def _returned(self, hello: SandboxHello) -> Greeting:
        self._was_returned, self._broken = True, 0
        return Greeting(self.info_of(hello), hello.resume)

    def info_of(self, hello: SandboxHello) -> SandboxInfo:
        """The sandbox that said `hello`."""
        return _info_of(hello, address=self._address, trust=self._trust)

    async def _greet(self, transport: FrameTransport, orders: Sequence[SessionOrder]) -> FromSandbox | None:
        hello = _hello(orders)
        try:
            return await self._ask(transport, hello)
        except TransportClosed as error:
            if not self._was_returned:
                self._core_only = error.code is not None and error.code not in _NOT_ABOUT_HELLO
                self._broken += error.code is None
            raise

    async def _ask(
        self, transport: FrameTransport, question: BridgeHello | HealthCheck
    ) -> FromSandbox | None:
        """The frame after `question`, or None if none comes in time or it is broken."""
        with contextlib.suppress(TimeoutError, ProtocolError):
            async with asyncio.timeout(self._answer_s):
                await transport.send(encode(question))
                return parse_from_sandbox(await transport.recv())
        return None


class DialIn:
    """The handshake with a sandbox of `subject` that has dialled in and said `hello`."""

    def __init__(self, hello: SandboxHello, address: str, trust: Trust, subject: str) -> None:
        self._hello = hello
        self._address = address
        self._trust: Trust = trust
        self._subject = subject
        self.there = self.info_of(hello)

    async def perform(self, transport: FrameTransport, orders: Sequence[SessionOrder] = ()) -> Greeting:
        """Return the `hello`, with what becomes of each session that the sandbox has. Raises `TransportClosed`.

        Who is without a connection can go on only here: what `orders` don't name was a former owner's, and is killed.
        """
        wanted = {order.session_id: order for order in orders}
        kill = [
            SessionOrder(session_id=offer.session_id, action="kill")
            for offer in self._hello.resume
            if offer.session_id not in wanted
        ]
        offered = {offer.session_id for offer in self._hello.resume}
        named = [order for order in orders if order.session_id in offered]
        await transport.send(encode(_hello([*named, *kill])))
        return Greeting(self.there, self._hello.resume)

    def info_of(self, hello: SandboxHello) -> SandboxInfo:
        """The sandbox that said `hello`."""
        return _info_of(hello, address=self._address, trust=self._trust, subject=self._subject)


def _hello(orders: Sequence[SessionOrder]) -> BridgeHello:
    return BridgeHello(type="hello", protocol=PROTOCOL, sessions=list(orders), input_taken=True)


def _is_ours(frame: FromSandbox | None) -> TypeGuard[SandboxHello]:
    return isinstance(frame, SandboxHello) and frame.protocol == PROTOCOL


def _info_of(hello: SandboxHello, *, address: str, trust: Trust, subject: str | None = None) -> SandboxInfo:
    return SandboxInfo(
        address=address,
        sandbox_id=hello.sandbox_id,
        boot_id=hello.boot_id,
        runtime=hello.runtime,
        # One that has no room just now says so again, as `busy`, or has some by then.
        max_sessions=max(1, hello.max_sessions),
        capabilities=frozenset(hello.capabilities),
        labels=hello.labels,
        isolation=hello.isolation,
        trust=trust,
        subject=subject,
        extended=True,
        tells_input_taken=hello.input_taken,
        max_timeout_s=hello.max_timeout_s,
    )
