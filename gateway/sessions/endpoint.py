"""`GET /ws`: the handshake, and the sockets that came of it."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Final, cast

from aiohttp import web
from multidict import CIMultiDictProxy
from structlog.typing import FilteringBoundLogger

from gateway import server_frames, trace
from gateway.clock import Clock, rfc3339
from gateway.errors import CLOSES, Close, GatewayError, HandshakeError
from gateway.principal import Principal
from gateway.sessions.auth import Authenticator, bearer
from gateway.sessions.client_transport import handed_over, owned
from gateway.sessions.commands import Services, expiry
from gateway.sessions.connection import Connection
from gateway.sessions.connection_notes import ConnectionNotes
from gateway.sessions.pongs import Pongs
from gateway.sessions.problems import problem
from gateway.sessions.served_socket import ServedSocket, SocketClosedError
from gateway.sessions.session import Sessions
from gateway.sessions.upgrade import HandedOver, Handshake, HandsOver, Upgrade
from gateway.settings import Settings

PROTOCOL: Final = "gateway.v1"
TOKEN_PREFIX: Final = "bearer."  # noqa: S105 - a name, not a secret
CLIENT_SCOPES: Final = frozenset({"tasks:read", "tasks:write", "admin"})
"""Without one of these there is nothing to do here."""
RETRY_AFTER_MS: Final = 5000
MAX_UNFINISHED_BYTES: Final = 256 << 20
"""Of messages that clients have begun and not ended, all together."""
MAX_UNHEARD_BYTES: Final = 4 << 10
"""Of a message from who is about to be closed."""
SOCKETS: Final = frozenset({"/ws", "/sandbox"})
"""Where a browser can't read an HTTP refusal."""
KNOWN_CODES: Final = frozenset({*map(int, Close), 1000, 1005, 1006})
"""What is counted by its number: a client may close with any."""
REFUSAL: Final = web.RequestKey("refusal", HandshakeError)
"""Why a request for a socket is to be refused, where that was known before anybody looked who asks."""


class Endpoint:
    """Lets clients in and keeps their connections: beats their hearts, and sends them off at the end."""

    def __init__(
        self,
        *,
        instance: str,
        agents: Callable[[], list[str]],
        settings: Settings,
        sessions: Sessions,
        services: Services,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._instance = instance
        self._agents = agents
        self._settings = settings
        self._sessions = sessions
        self._services = services
        self._clock = clock
        self._log = log
        self._upgrade = Upgrade(PROTOCOL)
        self._pongs = Pongs(clock, services.metrics)
        self._connections: dict[Connection, float] = {}
        self._served = 0
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._limits = {
            "max_frame_bytes": settings.max_frame_bytes,
            "max_input_bytes": settings.max_input_bytes,
            "max_inflight": settings.max_inflight,
            "max_subscriptions": settings.max_subscriptions,
        }
        services.metrics.connections.set_function(lambda: len(self._connections))

    def __repr__(self) -> str:
        return f"<Endpoint {len(self._connections)} connections{', draining' * self._draining}>"

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    # --- the handshake ------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client, or refuse it; a browser can't read an HTTP refusal, and is told by `goodbye`."""
        if PROTOCOL not in offered_protocols(request.headers):
            return problem(
                GatewayError("bad_frame", f"Offer the WebSocket subprotocol {PROTOCOL}."), status=400
            )
        try:
            principal = await self._let_in(request)
        except HandshakeError as refusal:
            self._services.metrics.closes.counts[(str(int(refusal.close)),)] += 1
            return await refused(request, refusal, self._upgrade)
        answer = self._upgrade.answer(request.headers)
        asked = Handshake(request.headers, request.query)
        self._begin(cast("HandsOver", request.protocol), asked, principal, answer)
        return HandedOver()

    def expected(self, peer: HandsOver, asked: Handshake) -> Callable[[], None] | None:
        """What lets a client in who needs no more than a look; None where `handle` has to wait for something, or to
        say why not."""
        principal = self._services.authenticator.known(token_of(asked.headers))
        if principal is None or PROTOCOL not in offered_protocols(asked.headers):
            return None
        try:
            self._check_room()
            self._check(principal)
            answer = self._upgrade.answer(asked.headers)
        except (HandshakeError, web.HTTPBadRequest):
            return None
        return partial(self._begin, peer, asked, principal, answer)

    async def _let_in(self, request: web.Request) -> Principal:
        self._check_room()
        principal = await authenticated(request, self._services.authenticator)
        self._check(principal)
        return principal

    def _check_room(self) -> None:
        if self._draining:
            raise self._later(Close.RESTART, "The server is draining.")
        if len(self._connections) >= self._settings.max_connections:
            raise self._later(Close.OVERLOADED, "The server is full.")

    def _check(self, principal: Principal) -> None:
        if not principal.scopes & CLIENT_SCOPES:
            raise HandshakeError("forbidden", Close.FORBIDDEN, "The token has no scope for tasks.")
        try:
            self._services.quotas.check_connection(principal)
        except GatewayError as refusal:
            raise HandshakeError(refusal.code, Close.OVERLOADED, refusal.message, **refusal.details) from None

    def _later(self, close: Close, why: str) -> HandshakeError:
        """A refusal that has each come again at a time of its own: not all who were refused, at once."""
        wait_ms = self._clock.rng.randrange(RETRY_AFTER_MS, 2 * RETRY_AFTER_MS)
        return HandshakeError("overloaded", close, why, retry_after_ms=wait_ms)

    # --- a connection's life ------------------------------------------------------------------------------

    def _begin(self, peer: HandsOver, by: Handshake, principal: Principal, answer: bytes) -> None:
        """Answer the handshake, welcome the client, and leave its connection to itself."""
        transport = peer.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            if transport is not None:
                transport.abort()  # what it has not taken of an answer before would come behind ours
            return
        ours = owned(transport, peer.intake)
        asked = by.query.get("session_id") or by.headers.get("Session-Id")
        session = self._sessions.find(principal, asked)
        self._served += 1
        notes = ConnectionNotes(
            self._services.recorder,
            self._settings,
            principal,
            session_id=session.session_id,
            number=self._served,
            traceparent=trace.parsed(by.headers.getall(trace.HEADER, [])),
        )
        connection = Connection(
            ours,
            session=session,
            principal=principal,
            services=self._services,
            settings=self._settings,
            notes=notes,
            pongs=self._pongs,
            pace=self._services.quotas.pace(peer.counted_as, principal),
            # Counted as it came: a connection that renews its token keeps its place.
            on_over=partial(self._over, principal),
        )
        self._connections[connection] = connection.socket.heard_at
        self._empty.clear()
        self._services.quotas.came(principal)
        self._log.info("client connected", session_id=session.session_id, subject=principal.subject)
        notes.came(asked)
        connection.outbox.begin(answer, self._welcome(connection))
        connection.socket.on_gone = handed_over(peer, ours, connection.socket)

    def _over(self, principal: Principal, connection: Connection, code: int) -> None:
        del self._connections[connection]
        if not self._connections:
            self._empty.set()
        self._services.quotas.went(principal)
        self._services.metrics.closes.counts[(str(int(code)) if code in KNOWN_CODES else "other",)] += 1
        connection.notes.went(int(code))
        who = {"session_id": connection.session_id, "subject": principal.subject}
        self._log.info("client gone", **who, code=int(code))

    def _welcome(self, connection: Connection) -> bytes:
        return server_frames.welcome(
            session_id=connection.session_id,
            instance=self._instance,
            time=rfc3339(self._clock.now_ms()),
            heartbeat_ms=self._settings.heartbeat_ms,
            limits=self._limits,
            agents=self._agents(),
            subject=connection.principal.subject,
            expires_at=expiry(connection.principal),
        )

    async def beat(self) -> None:
        """Beat every connection's heart, each at its own time, until cancelled: one wheel for all."""
        heartbeat_s = self._settings.heartbeat_ms / 1000
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(heartbeat_s / 10, 1.0))
            now = loop.time()
            for connection in self._services.authenticator.suspects(self._connections):
                connection.check_token()
            for connection in self._due(now - heartbeat_s):
                del self._connections[connection]  # it stands behind all others now
                self._connections[connection] = now
                self._services.metrics.outbox_lag_seconds.observe(connection.outbox.lag_s(now))
                connection.beat(now, heartbeat_s)
            self._shed()

    def _due(self, before: float) -> list[Connection]:
        """Whose heart has not beaten since then; all stand in the order of their beats."""
        beats = self._connections.items()
        return [connection for connection, _ in takewhile(lambda beat: beat[1] <= before, beats)]

    def _shed(self) -> None:
        """Close whoever has most under way, where all together have begun more than memory is for: one message of each
        is not too large, a thousand that never end are."""
        held = {one: size for one in self._connections if (size := one.socket.unfinished_bytes)}
        total = sum(held.values())
        for connection in sorted(held, key=lambda one: held[one], reverse=True):
            if total <= MAX_UNFINISHED_BYTES:
                return
            total -= held[connection]
            connection.close(Close.OVERLOADED, "Too much is under way that has not ended.")

    # --- the end ------------------------------------------------------------------------------------------

    def refuse_new(self) -> None:
        """Let nobody in any more."""
        self._draining = True

    def send_off(self) -> None:
        """Close every connection, each with a time of its own to come back, so that they don't come at once."""
        spread_ms = max(1000, math.ceil(len(self._connections) / 500) * 1000)
        for connection in list(self._connections):
            wait_ms = self._clock.rng.randrange(spread_ms)
            connection.close(Close.RESTART, "The server restarts.", reconnect_in_ms=wait_ms)

    def leave_now(self) -> None:
        """Say goodbye to every client whose socket takes it at once: the process ends with this call."""
        for connection in list(self._connections):
            connection.close(Close.GONE)

    async def emptied(self, within_s: float) -> None:
        """Return when every connection is gone; who is there after `within_s` is cut off."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        for connection in list(self._connections):
            connection.cut_off()


async def refused(request: web.Request, refusal: HandshakeError, upgrade: Upgrade) -> web.StreamResponse:
    """The answer to a handshake that is refused: by HTTP, or to a browser, which can't read that, over its socket."""
    if "Origin" not in request.headers:
        return problem(refusal)
    said = server_frames.goodbye(
        refusal.close,
        refusal.message,
        reconnect=CLOSES[refusal.close].reconnect,
        reconnect_in_ms=refusal.details.get("retry_after_ms"),
    )
    await farewell(request, upgrade, said, refusal.close)
    return HandedOver()


async def farewell(request: web.Request, upgrade: Upgrade, said: bytes, code: int) -> None:
    """Answer a handshake to say one thing, and close with `code`."""
    pace = cast("HandsOver", request.protocol).pace
    socket = ServedSocket.of(request, upgrade.answer(request.headers), max_bytes=MAX_UNHEARD_BYTES, pace=pace)
    with contextlib.suppress(SocketClosedError):
        await socket.send(said.decode())
    await socket.close(code)


def offered_protocols(headers: CIMultiDictProxy[str]) -> list[str]:
    """The WebSocket subprotocols a request offers (RFC 6455 section 11.3.4)."""
    values = headers.getall("Sec-WebSocket-Protocol", [])
    return [part.strip() for value in values for part in value.split(",")]


def token_of(headers: CIMultiDictProxy[str]) -> str | None:
    """What a request shows: in its `Authorization`, or a `bearer.<token>` subprotocol."""
    if (token := bearer(headers.get("Authorization"))) is not None:
        return token
    offered = (p.removeprefix(TOKEN_PREFIX) for p in offered_protocols(headers) if p.startswith(TOKEN_PREFIX))
    return next(offered, None)


async def authenticated(request: web.Request, authenticator: Authenticator) -> Principal:
    """Who sent `request`. Raises `HandshakeError`."""
    if (known := request.get(REFUSAL)) is not None:
        raise known
    try:
        return await authenticator.principal(token_of(request.headers))
    except GatewayError as refusal:
        if refusal.code != "unauthorized":
            raise HandshakeError(
                refusal.code, Close.OVERLOADED, refusal.message, retry_after_ms=RETRY_AFTER_MS
            ) from None
        raise HandshakeError("unauthorized", Close.UNAUTHORIZED, refusal.message) from None
