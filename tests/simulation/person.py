"""Somebody who asks: over as many connections as it takes, and who sends nonsense now and then."""

import asyncio
import random
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any, Final

from websockets.exceptions import WebSocketException

from tests.simulation.host import GATEWAY_PORT
from tests.simulation.sightings import Sightings
from tests.support.gateway import Client, client
from tests.support.history import HistoryError
from tests.support.waiting import let_pass

GONE: Final[tuple[type[Exception], ...]] = (OSError, TimeoutError, WebSocketException)
"""How a connection ends, or is not had."""
NONSENSE: Final = ("{", '{"type":"fly","id":"?"}', '{"type":"ping","id":"?","more":1}', "[]")


def connected(**options: Any) -> AbstractAsyncContextManager[Client]:
    """A client's connection to the simulated gateway."""
    given = {"open_timeout": 10, "close_timeout": 1, "ping_interval": 4, "ping_timeout": 4} | options
    return client(f"ws://127.0.0.1:{GATEWAY_PORT}/ws", **given)


class Person:
    """One, with a connection that is made when it is needed."""

    def __init__(self, rng: random.Random, sightings: Sightings) -> None:
        self._rng = rng
        self._sightings = sightings
        self._held = AsyncExitStack()
        self._me: Client | None = None
        self.tries = 0
        """How often the last question was asked."""

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The answer: a `result`, or an `error` that it makes no sense to try again after."""
        self.tries = 0
        while True:
            self.tries += 1
            try:
                answer = await self._ask_once(kind, fields)
            except GONE:
                await self.leave()
                await let_pass(self._rng.uniform(0, 0.5))
                continue
            if not answer.get("retryable"):
                return answer
            await let_pass(self._rng.uniform(0.1, 0.5))

    async def _ask_once(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        me = self._me
        if me is None:
            me = self._me = await self._held.enter_async_context(connected())
        async with asyncio.timeout(40):
            if self._rng.random() < 0.05:
                await self._talk_nonsense(me)
            return await me.ask(kind, **fields)

    async def _talk_nonsense(self, me: Client) -> None:
        await me.socket.send(self._rng.choice(NONSENSE))
        while (frame := await me.read()).get("id", "") not in {None, "?"}:
            pass
        if frame.get("code") != "bad_frame":
            raise HistoryError(f"nonsense: answered {frame}")
        self._sightings["nonsense answered"] += 1

    async def leave(self) -> None:
        """Have no connection any more; what the server said of coming back is heeded."""
        me, self._me = self._me, None
        if me is not None and me.goodbye is not None and me.goodbye["reconnect"]:
            self._sightings["goodbye heeded"] += 1
            await let_pass((me.goodbye["reconnect_in_ms"] or 0) / 1000)
        with suppress(*GONE):
            await self._held.aclose()
