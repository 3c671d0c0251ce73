"""Is the process sane (`/livez`), can it do its work (`/readyz`), and what has it done (`/metrics`)."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from gateway.errors import StoreUnavailableError
from gateway.state.base import StateStore

CHECK_TIMEOUT_S: Final = 2.0
"""How long a part may take to answer before it counts as failing."""


class Health:
    """Knows the parts; each failing one is named with what is wrong."""

    def __init__(self, store: StateStore, sandbox: Callable[[], dict[str, Any]]) -> None:
        self.draining = False
        self._store = store
        self._sandbox = sandbox

    async def livez(self, _request: web.Request) -> web.Response:
        """The loop turns."""
        return web.json_response({"status": "ok"})

    async def readyz(self, _request: web.Request) -> web.Response:
        """200 where new work can be taken and done, else 503; either way each part's state."""
        parts: dict[str, Any] = {"store": await self._store_state(), "sandbox": self._sandbox()}
        failing = [name for name, part in parts.items() if not part["ok"]]
        if self.draining:
            failing.append("draining")
        body = {"status": "failing" if failing else "ok", "failing": failing, "degraded": [], "parts": parts}
        return web.json_response(body, status=503 if failing else 200)

    async def _store_state(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await self._store.get_task("")
        except (StoreUnavailableError, TimeoutError) as error:
            return {"ok": False, "problem": str(error) or f"no answer within {CHECK_TIMEOUT_S:.0f} s"}
        return {"ok": True}
