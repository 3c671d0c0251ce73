"""The bus, as `gateway check` finds it."""

import asyncio
from typing import Final

from gateway.bus.base import Bus
from gateway.clock import Clock
from gateway.metrics import Metrics
from gateway.server.backends import make_bus
from gateway.server.checks.parts import Finding
from gateway.server.data_dir import StartError
from gateway.settings import Settings

WITHIN_S: Final = 5.0
"""How long what is published may take to come back."""
LOOKS: Final = 100


async def bus(settings: Settings) -> Finding:
    """Whether what is published comes back."""
    if settings.event_bus_backend == "memory":
        return Finding("bus", "ok", "memory: this instance is alone, and needs no server beside it")
    try:
        made = make_bus(settings, Metrics(), instance=f"check-{Clock().new_id()}")
    except StartError as error:
        return Finding("bus", "fail", str(error), "such as REDIS_URL=redis://localhost:6379/0")
    running = asyncio.get_running_loop().create_task(made.run(), name="bus")
    try:
        problem = await _problem(made)
    finally:
        running.cancel()
        await asyncio.wait([running])
    if problem is not None:
        # A gateway starts without it, and goes on from the store.
        return Finding("bus", "warn", f"redis: {problem}", "correct REDIS_URL, or start Redis there")
    return Finding("bus", "ok", "redis: what is published comes back")


async def _problem(made: Bus) -> str | None:
    for _ in range(LOOKS):
        if made.problem is None:
            break
        await asyncio.sleep(WITHIN_S / LOOKS)
    return made.problem
