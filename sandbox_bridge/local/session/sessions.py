"""The sessions of a service: who runs, whose bridge is away, whose end may be asked for again."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import structlog

from sandbox_bridge.local.session.channel import Channel, Line
from sandbox_bridge.local.session.endings import error_frame
from sandbox_bridge.local.session.limits import BadInputError
from sandbox_bridge.local.session.orders import Order, check_order
from sandbox_bridge.local.session.session import Files, Place, Session
from sandbox_bridge.local.session.slots import Slots, drop_nowait
from sandbox_bridge.local.session.staging import Staging
from sandbox_bridge.local.sites.sites import KeptSite
from sandbox_bridge.protocol import ExecuteTask

MAX_REMEMBERED = 10_000
"""Ended sessions whose late cancels are ignored."""
MAX_KEPT_ENDS = 256
"""Ended sessions whose last frames are kept for a bridge that may lack them, each up to a window's worth."""

log = structlog.get_logger()


class RefusedError(Exception):
    """A task that is not taken; `code` is the protocol's word for why."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(slots=True, eq=False)
class _Stay:
    """A session, from its task to the moment from which nobody can ask for it any more."""

    session: Session
    channel: Channel
    runner: asyncio.Task[None] | None = None
    expiry: asyncio.TimerHandle | None = None
    """Gives it up: while its bridge is away, and while its end is kept."""

    def set_expiry(self, timer: asyncio.TimerHandle | None) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
        self.expiry = timer


class Sessions:
    """The sessions under one set of ids: those of all peers that said hello, or of one that did not.

    A session of a peer that did is numbered, and waits `hold_s` for its bridge when its socket is gone,
    counted from the last byte from there. With 0, and without a hello, it ends with its socket.
    """

    def __init__(self, place: Place, slots: Slots, *, is_extended: bool) -> None:
        self.is_extended = is_extended
        """Whether its peers have said hello."""
        self._place = place
        self._slots = slots
        self._hold_s = place.settings.resume_s if is_extended else 0.0
        self._running: dict[str, _Stay] = {}
        self._over: OrderedDict[str, _Stay] = OrderedDict()
        self._remembered: OrderedDict[str, None] = OrderedDict()
        # What tasks that have ended have left, by their sessions.
        self._sites: dict[str, KeptSite] = {}
        self._loop = asyncio.get_running_loop()

    def get(self, session_id: str) -> Session | None:
        """The session of that name, while it runs."""
        stay = self._running.get(session_id)
        return stay.session if stay is not None else None

    def had(self, session_id: str) -> bool:
        """Whether a session of that name has ended, or a task was refused."""
        return session_id in self._remembered

    def remember(self, session_id: str) -> None:
        """Take note that it has ended."""
        self._remembered[session_id] = None
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has happened here yet."""
        return not self._running and not self._remembered

    # --- from a task to its end -----------------------------------------------------------------------

    def accept(self, task: ExecuteTask, staging: Staging | None, line: Line) -> None:
        """Begin the session of `task`, whose frames go to `line`. Raises `RefusedError`."""
        session_id = task.session_id
        if task.collect is not None and not self.is_extended:
            raise RefusedError("bad_input", "collect: files come back only after a hello")
        try:
            order = check_order(task, self._place.settings, staging.paths() if staging else [])
        except BadInputError as error:
            raise RefusedError("bad_input", str(error)) from None
        if not self._slots.take_place():
            raise RefusedError("busy", "all sessions are taken")
        if (former := self._sites.get(session_id)) is not None:
            former.stop_nowait()
        self._give_up(session_id)
        channel = Channel(session_id, line, is_numbered=self.is_extended)
        stay = self._running[session_id] = _Stay(Session(order, self._place, channel), channel)
        stay.runner = self._slots.run(self._run(session_id, stay, order, staging))

    async def _run(self, session_id: str, stay: _Stay, order: Order, staging: Staging | None) -> None:
        session = stay.session
        try:
            await self._finish(session_id, stay, files_of(order, staging))
            if session.site is not None:
                with self._place.keeper.keep(session.site):
                    await session.stay(self._place.settings.site_idle_s)
        except Exception:  # the border: one session's bug is not the others' end
            log.exception("session_failed", session_id=session_id)
        finally:
            if staging is not None:
                staging.close()
            if session.site is not None:
                if self._sites.get(session_id) is session.site:
                    del self._sites[session_id]
                await session.site.aclose()

    async def _finish(self, session_id: str, stay: _Stay, files: Files) -> None:
        try:
            frame = await self._outcome(stay.session, files)
            if self._running.get(session_id) is not stay:
                return
            del self._running[session_id]
            if stay.session.site is not None:
                self._sites[session_id] = stay.session.site
            self.remember(session_id)
            self._keep_end(session_id, stay)
            # The place is free only when the last frame is out: a peer that takes none can't have more.
            await stay.channel.send(frame)
        finally:
            if self._running.get(session_id) is stay:
                del self._running[session_id]
                stay.set_expiry(None)
            self._slots.leave_place()

    async def _outcome(self, session: Session, files: Files) -> dict[str, Any]:
        try:
            return await session.run(files)
        except Exception:  # the border: one session's bug is not the others' end
            log.exception("session_failed")
            return error_frame("the sandbox failed", "sandbox_lost", reason="lost")

    def _keep_end(self, session_id: str, stay: _Stay) -> None:
        if not self._hold_s:
            return
        while len(self._over) >= MAX_KEPT_ENDS:
            self._give_up(next(iter(self._over)))
        self._over[session_id] = stay
        stay.set_expiry(self._loop.call_later(self._hold_s, self._give_up, session_id))

    # --- a bridge that goes and comes back ------------------------------------------------------------

    def leave(self, line: Line, heard_at: float) -> None:
        """The peer behind `line`, last heard at `heard_at`, is gone: its sessions wait, or end."""
        for session_id, stay in [*self._running.items(), *self._over.items()]:
            if stay.channel.line is line:
                stay.channel.detach()
                if not self._hold_s:
                    self._give_up(session_id)
                elif session_id in self._running:
                    timer = self._loop.call_at(heard_at + self._hold_s, self._give_up, session_id)
                    stay.set_expiry(timer)

    def _give_up(self, session_id: str) -> None:
        """Nobody will ask for it any more: what runs is killed, what was kept is forgotten."""
        running = self._running.pop(session_id, None)
        for stay in (running, self._over.pop(session_id, None)):
            if stay is not None:
                stay.set_expiry(None)
        if running is not None and running.runner is not None:
            self.remember(session_id)
            drop_nowait(running.runner)

    def offers(self, named: set[str]) -> list[dict[str, Any]]:
        """What `hello` lists under `resume`: the sessions without a bridge, and those `named`."""
        return [
            {"session_id": session_id, "last_seq": stay.channel.last_seq, "input_seq": stay.session.input_seq}
            for session_id, stay in self._all()
            if stay.channel.line is None or session_id in named
        ]

    def _all(self) -> Iterator[tuple[str, _Stay]]:
        return chain(self._running.items(), self._over.items())

    def resume(self, session_id: str, line: Line, after_seq: int) -> Channel | None:
        """Let a session go on over `line`, behind the frame `after_seq`; its channel, to be flushed.

        None where that can't be: there is no such session, or what it would have to send again is gone. Then
        it is over.
        """
        stay = self._running.get(session_id) or self._over.get(session_id)
        if stay is None:
            return None
        former = stay.channel.line
        if not stay.channel.attach(line, after_seq):
            self._give_up(session_id)
            return None
        if former not in {None, line} and not any(each.channel.line is former for _, each in self._all()):
            # A bridge that takes up all that it had has lost its former socket, whether we know that or not.
            former.abort()
        if session_id in self._running:
            stay.set_expiry(None)
        return stay.channel

    # --- told to end ----------------------------------------------------------------------------------

    def cancel(self, session_id: str, line: Line, *, is_its_bridge: bool = False) -> bool:
        """Have a session end; whether there is one.

        `line` hears its end where its bridge is away, or `is_its_bridge` over another socket, whose end we may not
        have noticed.
        """
        stay = self._running.get(session_id)
        if stay is None:
            return False
        former = stay.channel.line
        if former is None or (is_its_bridge and former is not line):
            self.resume(session_id, line, stay.channel.last_seq)
        stay.session.stop_nowait()
        return True

    def close(self, session_id: str) -> None:
        """Have a session and its site end, where they are there."""
        for closed in (self.get(session_id), self._sites.get(session_id)):
            if closed is not None:
                closed.stop_nowait()


def files_of(order: Order, staging: Staging | None) -> Files:
    """A task's files, those sent ahead last."""
    own = ((path, pieces_of(data)) for path, data in order.files)
    return chain(own, staging.files() if staging else ())


def pieces_of(data: bytes) -> Iterator[bytes]:
    """`data` in pieces that fit into the jail's socket."""
    for start in range(0, len(data), 64 << 10):
        yield data[start : start + (64 << 10)]
