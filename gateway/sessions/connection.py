"""One client socket from welcome to goodbye: reads requests, answers each, and feeds its subscriptions."""

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web
from structlog.typing import FilteringBoundLogger

from gateway import frames
from gateway.errors import CLOSES, Close, GatewayError
from gateway.principal import Principal
from gateway.sessions.commands import Services, answer, pong
from gateway.sessions.flight import Flight
from gateway.sessions.guard import Guard
from gateway.sessions.outbox import Outbox
from gateway.sessions.session import Session
from gateway.sessions.subscriptions import Subscriptions
from gateway.sessions.turns import Turns
from gateway.settings import Settings
from gateway.token_bucket import TokenBucket

CLOSE_TIMEOUT_S: Final = 2.0
"""How long a peer may take to take what is left and to answer our close."""
CONTROLS_PER_S, CONTROLS_BURST = 10.0, 200
"""Pings and pongs of one connection: each costs an answer, and none is needed oftener."""
BROKEN: Final = frozenset({1002, 1007, 1009})
"""Closes after which aiohttp can read nothing more of the peer, not even its close."""


def may_be_sent(code: int) -> bool:
    """Whether a peer may close with `code`; 0 is none. aiohttp lets through 1006, and what is above 4999."""
    return code != WSCloseCode.ABNORMAL_CLOSURE and code < 5000


class ClientSocket(web.WebSocketResponse):
    """aiohttp's WebSocket, that says what it is about to do before it closes.

    `receive()` closes by itself on what breaks RFC 6455 (1002, 1007, 1009), so the goodbye hangs here.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            protocols=("gateway.v1",),
            compress=False,
            autoping=False,
            autoclose=False,
            max_msg_size=settings.max_frame_bytes + 1,  # aiohttp refuses what reaches it
            timeout=CLOSE_TIMEOUT_S,
        )
        self.on_close: Callable[[int], Awaitable[None]] | None = None
        self.cut_off: Callable[[], None] = _nothing
        self.peer_closed = False

    async def answer_close(self, code: int) -> int:
        """Answer the peer's close with `code`, 0 where it gave none; the code that the connection ended with."""
        self.peer_closed = may_be_sent(code)
        answer = code or 1000 if self.peer_closed else int(WSCloseCode.PROTOCOL_ERROR)
        await self.close(code=answer)
        return code or 1005 if self.peer_closed else answer

    async def close(self, *, code: int = 1000, message: bytes = b"", drain: bool = True) -> bool:
        """Say goodbye and close; a peer that does not take it within `CLOSE_TIMEOUT_S` is cut off."""
        if self.closed:
            return False
        if not self.peer_closed and self.on_close is not None:
            await self.on_close(code)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                return await super().close(code=code, message=message, drain=drain)
        except TimeoutError:
            # It waits for a peer that takes nothing; so would the reader, and the socket would stay.
            self.cut_off()
            return True

    def let_go(self) -> None:
        """It is over, and nobody has to be told any more."""
        self.on_close, self.cut_off = None, _nothing
        if (error := self.exception()) is not None:
            error.__traceback__ = error.__context__ = None


def _nothing() -> None:
    pass


class _OverError(Exception):
    """The connection is over."""


class Connection:
    """The server's side of one socket; the `Caller` of its commands and a `Watcher` of lists."""

    def __init__(
        self,
        socket: ClientSocket,
        transport: asyncio.Transport,
        *,
        session: Session,
        principal: Principal,
        services: Services,
        settings: Settings,
        guard: Guard | None,
        flight: Flight,
        log: FilteringBoundLogger,
    ) -> None:
        self.flight = flight
        self.principal = principal
        self.outbox = Outbox(transport, services.outgoing)
        self._socket = socket
        self._session = session
        self._services = services
        self._settings = settings
        self._guard = guard
        self._log = log
        self.subscriptions = Subscriptions(
            self.outbox,
            services.relay,
            services.read_log,
            most=settings.max_subscriptions,
            on_behind=services.metrics.lagging.inc,
            on_failure=self._feeding_failed,
        )
        self._in_flight = 0
        self._now = asyncio.get_running_loop().time
        self._controls = TokenBucket(CONTROLS_PER_S, CONTROLS_BURST, self._now)
        self._close_code: int | None = None
        self._goodbye: tuple[str, int | None] = ("", None)
        self._heard_at = self._now()
        self._turns: Turns | None = None
        """While it reads."""
        # Begins with `close`, and is waited for by `serve`.
        self._closing: asyncio.Task[None] | None = None
        socket.on_close = self._say_goodbye
        socket.cut_off = transport.abort

    @property
    def session_id(self) -> str:
        """See `Caller.session_id`."""
        return self._session.session_id

    # --- its life ---------------------------------------------------------------------------------------

    async def serve(self) -> int:
        """Serve until either side closes; the close code."""
        try:
            async with asyncio.TaskGroup() as requests:
                turns = self._turns = Turns(requests)
                self._listen()
                await self._read(turns)
                self._turns = None
                await (self._closing or self._close_socket())
                await turns.settle(CLOSE_TIMEOUT_S)
                raise _OverError  # noqa: TRY301 - a TaskGroup is told to end its tasks by an exception
        except* _OverError as over:
            # The group's frame holds what it raised, which holds its frames: a circle, with the connection in it.
            traceback.clear_frames(over.__traceback__)
        finally:
            self._turns = None
            self.flight.leaves(self.subscriptions, self.outbox, heard_at=self._heard_at)
            self.outbox.close()
            self._unwatch_all()
            await self.subscriptions.aclose()
            await self.outbox.settle(CLOSE_TIMEOUT_S)
            self._let_go()
        return self._close_code or self._socket.close_code or 1006

    def _let_go(self) -> None:
        """Undo what refers back to the connection: memory that refers to itself waits long for the collector."""
        if self._guard is not None:
            self._guard.on_text = None
        self._socket.let_go()

    def close(self, code: Close, reason: str | None = None, *, reconnect_in_ms: int | None = None) -> None:
        """End the connection, with a goodbye, soon."""
        if self._close_code is None:
            self._close_code = code
            self._goodbye = (reason or CLOSES[code].meaning, reconnect_in_ms)
            if self._turns is not None:
                self._closing = self._turns.aside(self._close_socket(), name="closer")

    def leave_now(self) -> None:
        """Say goodbye and close, without waiting for anything."""
        if self._close_code is None:
            self.outbox.send(frames.goodbye(Close.GONE, CLOSES[Close.GONE].meaning, reconnect=True))
            self.outbox.end(Close.GONE)

    async def _close_socket(self) -> None:
        if self._close_code is not None:
            await self._socket.close(code=self._close_code)

    async def _say_goodbye(self, code: int) -> None:
        kind = CLOSES.get(Close(code)) if code in set(Close) else None
        self._close_code = code
        reason, reconnect_in_ms = self._goodbye
        said = reason or (kind.meaning if kind else "The WebSocket protocol was broken.")
        self.flight.leaves(self.subscriptions, self.outbox, heard_at=self._heard_at, said=said)
        reconnect = kind.reconnect if kind else False
        self.outbox.send(frames.goodbye(code, said, reconnect=reconnect, reconnect_in_ms=reconnect_in_ms))
        self.outbox.close()
        if code in BROKEN:
            await self.outbox.linger(code, CLOSE_TIMEOUT_S)

    def beat(self, now: float, heartbeat_s: float) -> None:
        """One heartbeat: ping, and close if there was no life for two. Any byte the peer takes is life, too."""
        if now - max(self._heard_at, self.outbox.took_at(now)) >= 2 * heartbeat_s:
            self.close(Close.IDLE)
        elif not self.outbox.unsent_bytes:
            self.outbox.ping()

    def check_token(self) -> None:
        """Close if the token has ended."""
        if (ended := self._services.authenticator.ended(self.principal)) is not None:
            self.close(Close.UNAUTHORIZED, ended)

    # --- in ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """From now on a good request begins in the turn of the loop that reads it."""
        if self._guard is not None:
            self._guard.on_text = self._take_at_once

    def _take_at_once(self, text: bytes) -> bool:
        """Take a request, unless something about it, or about the connection, needs care; whether it was taken."""
        turns, outbox = self._turns, self.outbox
        if turns is None or self._close_code is not None or self._in_flight >= self._settings.max_inflight:
            return False
        if not outbox.has_room_for_answers():
            return False
        try:
            request = frames.parse_request(text)
        except GatewayError:
            return False
        now = self._now()
        if not self._session.bucket.took_one(now):
            return False
        self._heard_at = now
        if isinstance(request, frames.Ping):
            outbox.send(pong(self._services, request))
        else:
            self._begin(request, turns)
        return True

    def _begin(self, request: frames.Request, requests: Turns) -> None:
        self._in_flight += 1
        requests.begin(request.about, partial(self._answer, request), name=f"request {request.type}")

    async def _read(self, requests: Turns) -> None:
        while self._close_code is None:
            message = await self._socket.receive()
            if self._guard is not None:
                self._guard.was_read()
            self._heard_at = self._now()
            if message.type is WSMsgType.TEXT:
                await self._take(message.data, requests)
            elif not await self._take_other(message):
                return

    async def _take_other(self, message: WSMessage) -> bool:
        """Handle what is not text; whether to read on."""
        if message.type in {WSMsgType.PING, WSMsgType.PONG} and not self._controls.has_one():
            self.close(Close.BAD_FRAMES, "Too many pings.")
            return False
        if message.type is WSMsgType.PING:
            with contextlib.suppress(ConnectionResetError):  # it has gone since
                await self._socket.pong(message.data)
        if message.type is WSMsgType.BINARY:
            self.close(Close.UNSUPPORTED_DATA)
        if message.type is WSMsgType.CLOSE:
            self._close_code = await self._socket.answer_close(message.data)
        return message.type in {WSMsgType.PING, WSMsgType.PONG}

    async def _take(self, text: str, requests: Turns) -> None:
        try:
            request = frames.parse_request(text)
        except GatewayError as problem:
            self._bad_frame(frames.usable_id(text), problem)
            return
        try:
            self._session.bucket.take()
            self._admit()
        except GatewayError as problem:
            self._services.metrics.asked(request.type, problem.code)
            self.outbox.send(frames.error(request.id, problem))
            await asyncio.sleep(self._session.bucket.pause_s)
        else:
            self._begin(request, requests)
        await self.outbox.wait_for_reader()

    def _admit(self) -> None:
        if self._in_flight >= self._settings.max_inflight:
            raise GatewayError(
                "overloaded", f"{self._in_flight} requests are under way.", retry_after_ms=1000
            )

    def _bad_frame(self, request_id: str | None, problem: GatewayError) -> None:
        self._services.metrics.asked("none", problem.code)
        self.outbox.send(frames.error(request_id, problem))
        if self.flight.one_bad_frame_too_many():
            self.close(Close.BAD_FRAMES)

    async def _answer(self, request: frames.Request) -> None:
        try:
            frame, then = await answer(self._services, self, request)
            if len(frame) > self._settings.max_frame_bytes:
                problem = GatewayError("too_large", "The answer is larger than a frame; HTTP has it whole.")
                frame = frames.error(request.id, problem)
            self.outbox.send(frame)
            then()
        finally:
            self._in_flight -= 1

    # --- what commands do here ----------------------------------------------------------------------------

    async def renew(self, principal: Principal) -> None:
        """See `Caller.renew`."""
        self.principal = principal
        if not principal.has("tasks:read") or principal.tasks is not None:
            self._unwatch_all()
        for subscription in self.subscriptions:
            if not await self._services.control.may_read(principal, subscription.task_id):
                self.subscriptions.drop(subscription.task_id)

    def _feeding_failed(self, error: Exception) -> None:
        self._log.warning("can't feed from the log", error=repr(error))
        self.close(Close.OVERLOADED, "The log can't be read now.")

    def _unwatch_all(self) -> None:
        for watched in self._services.watched.values():
            watched.remove(self)

    def room(self) -> int:
        """See `Watcher.room`."""
        return self.outbox.room()

    def send(self, payload: bytes) -> None:
        """See `Watcher.send`."""
        self.outbox.send(payload)
