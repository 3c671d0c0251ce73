"""One client from welcome to goodbye: takes its requests, answers each, and feeds its subscriptions.

Nothing waits here while a client is idle: what it says is taken in the turn of the loop that reads it, and there is an
asyncio task where a request, or its end, has to wait for something.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, NoReturn

from gateway import frames, server_frames
from gateway.errors import CLOSES, Close, GatewayError
from gateway.principal import Principal
from gateway.sessions.client_socket import ClientSocket
from gateway.sessions.client_transport import ClientTransport
from gateway.sessions.commands import Services, answer, internal_error
from gateway.sessions.connection_notes import ConnectionNotes
from gateway.sessions.outbox import Outbox
from gateway.sessions.pace import Pace, in_turn
from gateway.sessions.pongs import Pongs
from gateway.sessions.reading import CONTROLS_BURST, CONTROLS_PER_S, text_of
from gateway.sessions.session import Session
from gateway.sessions.subscriptions import Subscriptions
from gateway.sessions.turns import Turns
from gateway.settings import Settings
from gateway.token_bucket import TokenBucket

MAX_ANSWER_BYTES: Final = 4 << 20
"""Answers that wait for one client before nothing more is read of it, until it has taken three quarters of that."""
SETTLE_S: Final = 10.0
"""How long what a client has said before it went may take: a disk that is busy syncs a few times a second."""


class Connection:
    """The server's side of one client: the `Caller` of its commands, a `Watcher` of lists, its socket's `Listener`."""

    def __init__(
        self,
        transport: ClientTransport,
        *,
        session: Session,
        principal: Principal,
        services: Services,
        settings: Settings,
        notes: ConnectionNotes,
        pongs: Pongs,
        pace: Pace | None,
        on_over: Callable[["Connection", int], None],
    ) -> None:
        transport.set_write_buffer_limits(high=MAX_ANSWER_BYTES)
        self.notes = notes
        self._pace = pace
        self.principal = principal
        self.outbox = Outbox(transport, services.outgoing)
        self.room, self.send = self.outbox.room, self.outbox.send
        """See `Watcher`."""
        self.socket = ClientSocket(transport, self, max_bytes=settings.max_frame_bytes, pace=pace)
        self._session = session
        self._bucket = session.bucket
        self._pongs = pongs
        self._services = services
        self._settings = settings
        self._on_over = on_over
        """Called at its very end, with the code that it ended with."""
        self.subscriptions = Subscriptions(
            self.outbox,
            services.relay,
            services.read_log,
            most=settings.max_subscriptions,
            on_behind=services.metrics.lagging.inc,
            on_failure=self._feeding_failed,
        )
        self._turns = Turns(self._failed)
        self._in_flight = 0
        self._max_inflight = settings.max_inflight
        self._close_code: int | None = None
        self._controls: TokenBucket | None = None
        self._resting: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    @property
    def session_id(self) -> str:
        """See `Caller.session_id`."""
        return self._session.session_id

    # --- its end ----------------------------------------------------------------------------------------

    def close(self, code: Close, reason: str | None = None, *, reconnect_in_ms: int | None = None) -> None:
        """End the connection, with a goodbye; what its client has asked for may come to its end."""
        if self._close_code is None:
            self._say_goodbye(code, reason, reconnect_in_ms)
            self.outbox.end(code)
            self.socket.wait_for_end()

    def cut_off(self) -> None:
        """End it, whatever is still to be said."""
        self.socket.transport.abort()

    def on_close(self, code: int) -> None:
        """See `Listener`."""
        if self._close_code is None:
            self._close_code = code or 1005
            self._leave()
            self.outbox.end(code or 1000)
        self.socket.end()

    def on_broken(self, code: int) -> None:
        """See `Listener`."""
        if self._close_code is not None:
            self.socket.end()
            return
        self._say_goodbye(code)
        self.outbox.end(code)
        self.outbox.end_writing()
        self.socket.wait_for_end()

    def on_lost(self) -> None:
        """See `Listener`."""
        self._leave()
        self.outbox.close()
        if self._turns.is_idle and self.subscriptions.is_idle:
            self._over()
        else:
            # Ends by itself, within `SETTLE_S`.
            self._settling = asyncio.get_running_loop().create_task(
                self._settle(), name="end of a connection"
            )

    def _say_goodbye(self, code: int, reason: str | None = None, reconnect_in_ms: int | None = None) -> None:
        kind = CLOSES.get(Close(code)) if code in set(Close) else None
        said = reason or (kind.meaning if kind else "The WebSocket protocol was broken.")
        self._close_code = code
        self._leave(said)
        reconnect = kind.reconnect if kind else False
        self.outbox.send(
            server_frames.goodbye(code, said, reconnect=reconnect, reconnect_in_ms=reconnect_in_ms)
        )

    def _leave(self, said: str | None = None) -> None:
        self.notes.leaves(self.subscriptions, self.outbox, heard_at=self.socket.heard_at, said=said)

    async def _settle(self) -> None:
        await self._turns.settle(SETTLE_S)
        await self._turns.aclose()
        await self.subscriptions.aclose()
        self._over()

    def _over(self) -> None:
        self._unwatch_all()
        self.subscriptions.let_go()
        self._turns.let_go()
        self._on_over(self, self._close_code or 1006)

    # --- its life ---------------------------------------------------------------------------------------

    def beat(self, now: float, heartbeat_s: float) -> None:
        """One heartbeat: ping, and close if there was no life for two. Any byte the peer takes is life, too."""
        if now - max(self.socket.heard_at, self.outbox.took_at(now)) >= 2 * heartbeat_s:
            self.close(Close.IDLE)
        elif not self.outbox.unsent_bytes:
            self.outbox.ping()

    def check_token(self) -> None:
        """Close if the token has ended."""
        if (ended := self._services.authenticator.ended(self.principal)) is not None:
            self.close(Close.UNAUTHORIZED, ended)

    def on_text(self, text: bytes) -> None:
        """See `Listener`: a request begins, or is refused, here and now."""
        if self._close_code is not None:
            return
        is_free = self._in_flight < self._max_inflight
        if is_free and (ping := frames.plain_ping(text)) and self._bucket.took_one(self.socket.heard_at):
            self.outbox.say(self._pongs.answer(ping[1] or ping[2], self._services.outgoing.turn_at))
        else:
            self._take(text)

    def on_ping(self, ping_id: bytes, now: float) -> bytes:
        """See `Listener`."""
        if self._in_flight < self._max_inflight and self.outbox.is_clear() and self._bucket.took_one(now):
            return self.outbox.lent(self._pongs.answer(ping_id, now), now)
        return b""

    def _take(self, text: bytes) -> None:
        request = None
        try:
            request = frames.parse_request(text)
            # What was held back was heard a while ago, and more may have flowed in since: `take` looks at the time.
            if not self._bucket.took_one(self.socket.heard_at):
                self._bucket.take()
            if self._in_flight >= self._max_inflight:
                _refuse_more(self._in_flight)
        except GatewayError as problem:
            self._refuse(text, request, problem)
        else:
            self._in_flight += 1
            self._turns.begin(request.about, partial(self._answer, request), name=f"request {request.type}")

    def on_control(self, payload: bytes, *, is_ping: bool) -> None:
        """See `Listener`."""
        if self._controls is None:
            self._controls = TokenBucket(CONTROLS_PER_S, CONTROLS_BURST, asyncio.get_running_loop().time)
        if not self._controls.has_one():
            self.close(Close.BAD_FRAMES, "Too many pings.")
        elif is_ping:
            self.outbox.pong(payload)

    def on_binary(self, _payload: bytes) -> None:
        """See `Listener`."""
        self.close(Close.UNSUPPORTED_DATA)

    def _refuse(self, text: bytes, request: frames.Request | None, problem: GatewayError) -> None:
        """Answer what does not begin; it is no request where `request` is None."""
        if request is None:
            self._bad_frame(frames.usable_id(text_of(text)), problem)
            return
        self._services.metrics.asked.counts[request.type, problem.code] += 1
        self.outbox.send(server_frames.error(request.id, problem))
        if pause_s := self._bucket.pause_s:
            self._rest(pause_s)

    def _bad_frame(self, request_id: str | None, problem: GatewayError) -> None:
        self._services.metrics.asked.counts["none", problem.code] += 1
        self.outbox.send(server_frames.error(request_id, problem))
        if self.notes.one_bad_frame_too_many():
            self.close(Close.BAD_FRAMES)

    def _rest(self, pause_s: float) -> None:
        """Hear nothing more for so long."""
        if self._resting is None and self._close_code is None:
            self.socket.hold()
            self._resting = self._turns.aside(self._rested(pause_s), name="rest")

    async def _rested(self, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        self._resting = None
        self.socket.release()

    async def _answer(self, request: frames.Request) -> None:
        try:
            frame, then = await answer(self._services, self, request)
            if len(frame) > self._settings.max_frame_bytes:
                problem = GatewayError("too_large", "The answer is larger than a frame; HTTP has it whole.")
                frame = server_frames.error(request.id, problem)
            self.outbox.send(frame)
            then()
        finally:
            self._in_flight -= 1

    def _failed(self, error: BaseException) -> None:
        """A bug of ours: its client comes back, and begins anew."""
        if isinstance(error, Exception):
            internal_error(self._services, error)
        self.cut_off()

    # --- what commands do here ----------------------------------------------------------------------------

    def pay_for(self, rows: int) -> None:
        """See `Caller.pay_for`."""
        self._bucket.pay_for(rows)

    def in_turn(self) -> AbstractAsyncContextManager[None]:
        """See `Caller.in_turn`."""
        return in_turn(self._pace)

    async def renew(self, principal: Principal) -> None:
        """See `Caller.renew`."""
        self.principal = principal
        if not principal.has("tasks:read") or principal.tasks is not None:
            self._unwatch_all()
        for subscription in self.subscriptions:
            if not await self._services.control.may_read(principal, subscription.task_id):
                self.subscriptions.drop(subscription.task_id)

    def _feeding_failed(self, error: Exception) -> None:
        who = {"session_id": self.session_id, "subject": self.principal.subject}
        self._services.log.warning("can't feed from the log", **who, error=repr(error))
        self.close(Close.OVERLOADED, "The log can't be read now.")

    def _unwatch_all(self) -> None:
        for watched in self._services.watched.values():
            watched.remove(self)


def _refuse_more(in_flight: int) -> NoReturn:
    raise GatewayError("overloaded", f"{in_flight} requests are under way.", retry_after_ms=1000)
