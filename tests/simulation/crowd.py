"""Somebody with our own client library: one session, all tasks at once, over as many sockets as it takes."""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any, Self

from gateway.client.connection import Connection, OnEvent, dial
from gateway.client.errors import ClientError
from gateway.client.http import Http
from gateway.client.session import Session
from gateway.client.task import TaskHandle
from tests.simulation.host import GATEWAY_PORT
from tests.simulation.sightings import Sightings
from tests.support.gateway import is_final
from tests.support.history import HistoryError
from tests.support.waiting import let_pass

URL = f"http://127.0.0.1:{GATEWAY_PORT}"


PATIENCE_S = 45.0
"""How long nothing may come before somebody asks: more than the library's longest back-off."""


class Crowd:
    """What it saw of each task."""

    def __init__(self, rng: random.Random, sightings: Sightings) -> None:
        self._rng = rng
        self._sightings = sightings
        self._seen: dict[str, list[dict[str, Any]]] = {}
        self._reading = 0
        self._session: Session

    async def __aenter__(self) -> Self:
        self._session = await self._opened()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.aclose()

    async def _opened(self) -> Session:
        async def dial_it(*, session_id: str | None, on_event: OnEvent) -> Connection:
            return await dial(URL, token=None, session_id=session_id, on_event=on_event)

        while True:
            session = Session(dial_it, Http(URL, None), on_state=self._heard, chance=self._rng)
            try:
                await session.open()
            except ClientError:
                await let_pass(0.5)
            else:
                return session

    async def read(self, of: "asyncio.Future[str]") -> None:
        """Read a task to its end."""
        task_id = await asyncio.shield(of)
        events = self._seen.setdefault(task_id, [])
        self._reading += 1
        task = self._session.task(task_id)
        while not (events and is_final(events[-1])):
            if not await _comes(task, events):
                await self._check_silence(task, events)
        self._reading -= 1

    async def _check_silence(self, task: TaskHandle, events: list[dict[str, Any]]) -> None:
        """Nothing came for long: there must be nothing. Who does not read is not subscribed, so it reads on."""
        log_has, came = (await self._session.get_task(task.task_id))["last_seq"], task.last_seq
        if log_has > came and not await _comes(task, events):
            raise HistoryError(f"tail: the log has {log_has}, and nothing came after {came} to the client")

    def _heard(self, state: str) -> None:
        self._sightings["session come back to with its subscriptions"] += (
            state == "reconnecting" and self._reading > 1
        )

    def check(self, task_id: str, frames: Sequence[str]) -> None:
        """It saw what the others saw. Raises `HistoryError`."""
        if task_id in self._seen and self._seen[task_id] != [json.loads(frame) for frame in frames]:
            raise HistoryError(f"client: it saw {len(self._seen[task_id])} of {len(frames)}, or others")


async def _comes(task: TaskHandle, events: list[dict[str, Any]]) -> bool:
    """Take the next event; False where none comes for long."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            events.append(await anext(task))
    except TimeoutError:
        return False
    return True
