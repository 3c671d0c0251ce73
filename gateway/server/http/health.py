"""Whether the process is alive (`/livez`), whether it can do its work (`/readyz`), what it has done (`/metrics`)."""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from gateway.bus.base import Bus
from gateway.errors import StoreUnavailableError
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.server.http.routes import JSON, Answer, Asked, Route, json_answer
from gateway.sessions.keys import KeySet
from gateway.sessions.pace import in_turn
from gateway.shapes.service import Alive, Readiness
from gateway.state.base import StateStore

CHECK_TIMEOUT_S: Final = 2.0
"""How long a part may take to answer before it counts as failing."""
CHECK_EVERY_S: Final = 1.0
"""How old an answer of the store may be: each costs it a write, and anybody may ask us."""


DEGRADING: Final = frozenset({"bus", "keys", "disk"})
"""Parts without which everything goes on, for a while at least."""


class Health:
    """The handlers; `/readyz` names each part that fails, and why."""

    def __init__(
        self,
        store: StateStore,
        bus: Bus,
        sandbox: Callable[[], dict[str, Any]],
        metrics: Metrics,
        *,
        keys: KeySet | None = None,
    ) -> None:
        self.problems: Mapping[str, Callable[[], str | None]] = {}
        """What is wrong with further parts, by their names."""
        self.draining = False
        self._store = store
        self._bus = bus
        self._sandbox = sandbox
        self._checked: dict[str, Any] = {}
        self._checked_at = -math.inf
        self._checking = asyncio.Lock()
        self._metrics = metrics
        self._keys = keys

    def routes(self) -> list[Route]:
        """What is served here; probes and scrapers may add parameters of their own."""
        return [
            Route(
                name="livez",
                method="GET",
                path="/livez",
                handler=self.livez,
                about="Whether the process is sane.",
                is_open=True,
                query=None,
                answers={200: Answer("It is.", {JSON: Alive})},
            ),
            Route(
                name="readyz",
                method="GET",
                path="/readyz",
                handler=self.readyz,
                about="Whether new work can be taken and done.",
                is_open=True,
                query=None,
                answers={
                    200: Answer("It can.", {JSON: Readiness}),
                    503: Answer("It can't: the failing parts are named.", {JSON: Readiness}),
                },
            ),
            Route(
                name="metrics",
                method="GET",
                path="/metrics",
                handler=self.metrics,
                about="Counters in Prometheus' text format.",
                scope="admin",
                is_counted=False,
                query=None,
                answers={200: Answer("The counters.", {"text/plain": None})},
            ),
        ]

    async def livez(self, _asked: Asked) -> web.StreamResponse:
        """The loop turns."""
        return json_answer({"status": "ok"})

    async def readyz(self, _asked: Asked) -> web.StreamResponse:
        """200 where new work can be taken and done, else 503; either way each part's state."""
        parts = await self._parts()
        bad = [name for name, part in parts.items() if not part["ok"]]
        failing = [name for name in bad if name not in DEGRADING]
        degraded = [name for name in bad if name in DEGRADING]
        if self.draining:
            failing.append("draining")
        body = {
            "status": "failing" if failing else "ok",
            "failing": failing,
            "degraded": degraded,
            "parts": parts,
        }
        return json_answer(body, status=503 if failing else 200)

    async def metrics(self, asked: Asked) -> web.StreamResponse:
        """What Prometheus reads; they take a millisecond to write out."""
        asked.principal.require_whole()
        parts = await self._parts()
        async with in_turn(asked.pace):
            for name, part in parts.items():
                self._metrics.part_ok.labels(name).set(part["ok"])
            body = self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _parts(self) -> dict[str, Any]:
        parts = {
            "store": await self._store_state(),
            "sandbox": self._sandbox(),
            "bus": _state(self._bus.problem),
            **{name: _state(problem()) for name, problem in self.problems.items()},
        }
        return parts if self._keys is None else parts | {"keys": _state(self._keys.problem)}

    async def _store_state(self) -> dict[str, Any]:
        now = asyncio.get_running_loop().time
        async with self._checking:
            if now() - self._checked_at >= CHECK_EVERY_S:
                self._checked = await self._check_store()
                self._checked_at = now()
        return self._checked

    async def _check_store(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await self._store.get_task("")
                await self._store.check()
        except (StoreUnavailableError, TimeoutError) as error:
            return _state(str(error) or f"no answer within {CHECK_TIMEOUT_S:.0f} s")
        return _state(None)


def _state(problem: str | None) -> dict[str, Any]:
    return {"ok": True} if problem is None else {"ok": False, "problem": problem}
