"""`GET /sandbox`: the handshake of a sandbox that dials in, and how long it may stay.

A browser's tab comes here first with a pairing token, and is answered by one frame, `paired`; see `pairing`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, cast

import orjson
from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.errors import Close, GatewayError, HandshakeError
from gateway.principal import Principal
from gateway.sessions.audit import Audit
from gateway.sessions.auth import Authenticator
from gateway.sessions.client_socket import CLOSE_TIMEOUT_S
from gateway.sessions.commands import expiry
from gateway.sessions.endpoint import (
    REFUSAL,
    RETRY_AFTER_MS,
    authenticated,
    farewell,
    offered_protocols,
    refused,
    token_of,
)
from gateway.sessions.pairing import PAIRED, PAIRING, Pairings
from gateway.sessions.problems import problem
from gateway.sessions.quotas import Quotas
from gateway.sessions.sandbox_socket import SandboxTransport
from gateway.sessions.served_socket import ServedSocket
from gateway.sessions.upgrade import HandedOver, HandsOver, Upgrade
from gateway.settings import Settings
from sandbox_bridge.protocol import MAX_FRAME_BYTES, PROTOCOL

MAX_SOCKETS: Final = 1000
MAX_SOCKETS_PER_SUBJECT: Final = 32
"""A browser is one sandbox a tab, and a socket that broke may still be there beside the one that replaces it."""
DIAL_COST: Final = 50
"""As so many frames counts a sandbox that comes: an estimate of what its handshake, tasks and end cost."""
UPGRADES: Final = {name: Upgrade(name) for name in (None, PROTOCOL, "gateway.v1")}
"""By the subprotocol that is chosen: a browser that offers its token must be given another one that it offers."""
TOKEN_LOOK_S: Final = 0.5
"""How often it is looked whether a sandbox's token has ended."""

Accept = Callable[[SandboxTransport, str, bool], Awaitable[None]]
"""Has a sandbox work for a subject until its socket is gone; the last is whether to trust it with others' tasks."""


class SandboxEndpoint:
    """Lets sandboxes in that dial, and hands them to `accept`."""

    def __init__(
        self,
        authenticator: Authenticator,
        pairings: Pairings,
        accept: Accept,
        audit: Audit,
        settings: Settings,
        *,
        log: FilteringBoundLogger,
    ) -> None:
        self._authenticator = authenticator
        self.pairings = pairings
        self._accept = accept
        self._audit = audit
        self._quotas = Quotas(settings)
        self._log = log
        self._sockets: Counter[str] = Counter()
        self._serving: dict[SandboxTransport, asyncio.Task[None] | None] = {}
        self._draining = False

    def refuse_new(self) -> None:
        """Let nobody in any more."""
        self._draining = True

    async def send_off(self) -> None:
        """Close every connection: they may come back, or go to another instance."""
        leaving = [transport.close(Close.RESTART, "The server restarts.") for transport in self._serving]
        serving = [task for task in self._serving.values() if task is not None]
        await asyncio.gather(*leaving)
        if serving:
            await asyncio.wait(serving, timeout=CLOSE_TIMEOUT_S)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one sandbox, or refuse it; a browser can't read an HTTP refusal, and is told by `goodbye`."""
        upgrade = _upgrade_for(request)
        try:
            answer = upgrade.answer(request.headers)
        except web.HTTPBadRequest:
            return problem(GatewayError("bad_frame", "Sandboxes dial in with a WebSocket."), status=400)
        token = token_of(request.headers)
        try:
            if token is not None and token.startswith(PAIRING):
                return await self._pair(request, upgrade, token)
            principal = await self._let_in(request, token)
        except HandshakeError as refusal:
            return await refused(request, refusal, upgrade)
        self._sockets[principal.subject] += 1
        try:
            await self._serve(request, answer, principal)
        finally:
            self._sockets[principal.subject] -= 1
            if not self._sockets[principal.subject]:
                del self._sockets[principal.subject]
        return HandedOver()

    async def _pair(self, request: web.Request, upgrade: Upgrade, token: str) -> web.StreamResponse:
        """Give the tab that shows a pairing token the one that it is to come back with."""
        self._check_room(request)
        try:
            owner, minted = await self.pairings.redeem(token)
        except GatewayError as refusal:
            raise _unauthorized(refusal.message) from None
        self._check_ended(owner)
        self._audit.note(owner, "pair_sandbox", "ok", via="socket")
        paired = Principal(owner.subject, owner.scopes, expires_at=minted.expires_at)
        said = {
            "type": "paired",
            "token": minted.token,
            "subject": owner.subject,
            "expires_at": expiry(paired),
        }
        await farewell(request, upgrade, orjson.dumps(said | self.pairings.runtime), 1000)
        return HandedOver()

    def _check_room(self, request: web.Request) -> None:
        if (known := request.get(REFUSAL)) is not None:
            raise known
        if self._draining or self._sockets.total() >= MAX_SOCKETS:
            words, close = (
                ("The server is draining.", Close.RESTART)
                if self._draining
                else ("The server is full.", Close.OVERLOADED)
            )
            raise HandshakeError("overloaded", close, words, retry_after_ms=RETRY_AFTER_MS)

    async def _let_in(self, request: web.Request, token: str | None) -> Principal:
        self._check_room(request)
        if token is not None and token.startswith(PAIRED):
            principal = await self._paired(token)
        else:
            principal = await authenticated(request, self._authenticator)
        if not principal.has("sandbox") or principal.tasks is not None:
            raise HandshakeError("forbidden", Close.FORBIDDEN, "This needs the scope sandbox.")
        mine = self._sockets[principal.subject]
        if mine >= MAX_SOCKETS_PER_SUBJECT:
            message = f"{mine} sandboxes of {principal.subject} are connected."
            raise HandshakeError("rate_limited", Close.OVERLOADED, message, retry_after_ms=RETRY_AFTER_MS)
        return principal

    async def _paired(self, token: str) -> Principal:
        try:
            principal = await self.pairings.principal(token)
        except GatewayError as refusal:
            raise _unauthorized(refusal.message) from None
        self._check_ended(principal)
        return principal

    def _check_ended(self, principal: Principal) -> None:
        if (ended := self._authenticator.ended(principal)) is not None:
            raise _unauthorized(ended)

    async def _serve(self, request: web.Request, answer: bytes, principal: Principal) -> None:
        trusted = principal.has("sandbox:server")
        address = cast("HandsOver", request.protocol).counted_as
        pace = None if trusted else self._quotas.pace(address, principal)
        if pace is not None:
            await asyncio.sleep(pace.pay(DIAL_COST))
        transport = SandboxTransport(ServedSocket.of(request, answer, max_bytes=MAX_FRAME_BYTES, pace=pace))
        log = self._log.bind(subject=principal.subject)
        log.info("sandbox dialled in")
        self._audit.note(
            principal, "connect_sandbox", "ok", via="socket", trust="server" if trusted else "client"
        )
        loop = asyncio.get_running_loop()
        beside = [
            loop.create_task(transport.ping_forever(), name="sandbox pings"),
            loop.create_task(self._close_when_ended(transport, principal), name="sandbox token"),
        ]
        self._serving[transport] = asyncio.current_task()
        try:
            await self._accept(transport, principal.subject, trusted)
        finally:
            del self._serving[transport]
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            await transport.aclose()
            log.info("sandbox that dialled in is gone")

    async def _close_when_ended(self, transport: SandboxTransport, principal: Principal) -> None:
        """It may come back with another token, and go on with its sessions."""
        while True:
            if (ended := self._authenticator.ended(principal)) is not None:
                await transport.close(Close.UNAUTHORIZED, ended)
                return
            await asyncio.sleep(TOKEN_LOOK_S)


def _upgrade_for(request: web.Request) -> Upgrade:
    return UPGRADES[next((name for name in offered_protocols(request.headers) if name in UPGRADES), None)]


def _unauthorized(why: str) -> HandshakeError:
    return HandshakeError("unauthorized", Close.UNAUTHORIZED, why)
