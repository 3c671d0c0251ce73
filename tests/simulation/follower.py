"""Somebody who follows a task to its end, over as many connections as it takes.

The last seq is all that is kept. What comes is checked as it comes: each seq is the one that is due, and what
is seen twice, because it was asked for again, has the same bytes.
"""

import asyncio
import json
import random
from typing import Any, Final

from tests.simulation.orders import Order
from tests.simulation.person import GONE, connected
from tests.simulation.sightings import Sightings
from tests.support.gateway import Client, is_final
from tests.support.history import HistoryError
from tests.support.waiting import let_pass

SILENCE_S: Final = 10.0
"""How long nothing may come before somebody asks whether there is nothing."""
PATIENCE_S: Final = 20.0
"""How long it may take then: a lost tail is found with the next look at the heads, and the longest time for which
clients are held may begin just before that."""


class _LeavingError(Exception):
    """It has had enough, for now."""


class Follower:
    """One, of one task. It submits `order` itself where `task_id` is not given."""

    def __init__(
        self, order: Order, rng: random.Random, sightings: Sightings, task_id: asyncio.Future[str]
    ) -> None:
        self.frames: list[str] = []
        self.connections = 0
        self._order = order
        self._rng = rng
        self._sightings = sightings
        self._task = task_id
        self._cursor = 0
        self._ended = False
        # Whoever is slow does not notice that the line is dead.
        self._slow = rng.random() < 0.4

    @property
    def _task_id(self) -> str:
        return self._task.result()

    async def follow(self, *, submits: bool) -> list[str]:
        """All events of the task, as they came."""
        if not submits:
            await asyncio.shield(self._task)
        while not self._ended:
            try:
                async with connected(ping_interval=None if self._slow else 4) as me:
                    await self._follow_here(me)
            except _LeavingError:
                await let_pass(self._rng.uniform(0.5, 4.0))
            except GONE:
                await let_pass(self._rng.uniform(0, 0.5))
        return self.frames

    async def _follow_here(self, me: Client) -> None:
        self.connections += 1
        if not await self._begin(me):
            return
        while not self._ended:
            await self._fidget(me)
            await self._hear(me)

    async def _hear(self, me: Client) -> None:
        if self._ended:
            return
        if not await self._read(me):
            await self._check_silence(me)

    async def _read(self, me: Client, *, within_s: float = SILENCE_S) -> bool:
        """Take what comes next; False where nothing does."""
        try:
            async with asyncio.timeout(within_s):
                await me.read()
        except TimeoutError:
            return False
        self._collect(me)
        return True

    async def _begin(self, me: Client) -> bool:
        """Submit or subscribe; False where that is to be tried again."""
        if self._task.done():
            return await self._subscribe(me, len(self.frames))
        answer = await me.ask("submit_task", mode="streaming", **self._order.body)
        if "code" in answer:
            return _again(answer)
        self._sightings["idempotent replay"] += answer["replayed"]
        self._task.set_result(answer["task"]["task_id"])
        return True

    async def _subscribe(self, me: Client, after_seq: int) -> bool:
        answer = await me.answer(await me.send("subscribe", task_id=self._task_id, after_seq=after_seq))
        self._collect(me)
        if answer["type"] == "error":
            return _again(answer)
        result = answer["result"]
        if (result["first_seq"], result["recovered"]) != (after_seq + 1, True):
            raise HistoryError(f"resumed: subscribe after {after_seq} was answered {result}")
        self._cursor = after_seq
        return True

    def _collect(self, me: Client) -> None:
        """Check what has come, and keep it. Raises `HistoryError`."""
        frames = me.frames.pop(self._task.result(), ()) if self._task.done() else ()
        events = me.events.pop(self._task.result(), ()) if self._task.done() else ()
        for frame, event in zip(frames, events, strict=True):
            self._take(frame, event)

    def _take(self, frame: str, event: dict[str, Any]) -> None:
        seq = event["seq"]
        if self._ended:
            raise HistoryError(f"after the end: seq {seq} came")
        if seq != self._cursor + 1:
            kind = "repeat" if seq <= self._cursor else "gap"
            raise HistoryError(f"{kind}: seq {seq} came where {self._cursor + 1} was due")
        self._cursor = seq
        if seq <= len(self.frames):
            if frame != self.frames[seq - 1]:
                raise HistoryError(f"bytes: seq {seq} was {self.frames[seq - 1]!r} before, now {frame!r}")
            return
        self.frames.append(frame)
        self._ended = is_final(event)

    async def _check_silence(self, me: Client) -> None:
        """Nothing came for long: there must be nothing."""
        answer = await me.ask("get_task", task_id=self._task_id)
        self._collect(me)
        last_seq = answer["task"]["last_seq"] if "task" in answer else 0
        while self._cursor < last_seq:
            came = self._cursor
            if not await self._read(me, within_s=PATIENCE_S):
                raise HistoryError(f"tail: the log has {last_seq}, and nothing came after {came}")

    # --- what people do -----------------------------------------------------------------------------------

    async def _fidget(self, me: Client) -> None:
        what = self._rng.random()
        leaving = 0.1 if self._order.minds else 0.01
        if what < leaving:
            self._sightings["left"] += 1
            raise _LeavingError
        if what < leaving + 0.01:
            await self._look_again(me)
        elif what < leaving + 0.02:
            await self._unsubscribe(me)
        elif self._slow and what < leaving + 0.05:
            self._sightings["stopped reading"] += 1
            await let_pass(self._rng.choice((0.5, 2.0, 8.0)))

    async def _look_again(self, me: Client) -> None:
        """Subscribe anew, from some events before."""
        self._sightings["subscription replaced"] += 1
        if not await self._subscribe(me, max(0, self._cursor - self._rng.choice((0, 1, 5)))):
            raise _LeavingError

    async def _unsubscribe(self, me: Client) -> None:
        """Hear nothing, and then again what has come meanwhile."""
        answer = await me.ask("unsubscribe", task_id=self._task_id)
        self._collect(me)
        if "code" in answer and not _again(answer):
            raise _LeavingError
        await let_pass(self._rng.uniform(0, 0.5))
        await me.ask("ping")
        if me.frames.get(self._task_id) and not self._ended:
            raise HistoryError(f"unsubscribed: {me.frames[self._task_id]} came all the same")
        if not self._ended and not await self._subscribe(me, self._cursor):
            raise _LeavingError
        self._sightings["unsubscribed and back"] += 1


def _again(answer: dict[str, Any]) -> bool:
    """False where a refusal passes. Raises `HistoryError` for any other."""
    if not answer["retryable"]:
        raise HistoryError(f"refused: {json.dumps(answer)}")
    return False
