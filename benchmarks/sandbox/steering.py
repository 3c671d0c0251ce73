"""How fast a session stands still, and how fast it is gone."""

import time
import uuid
from collections.abc import Awaitable

from benchmarks.measure import Figure
from benchmarks.sandbox.service import bridge_to, settled, spec
from sandbox_bridge.bridge import Bridge, BridgeSession
from sandbox_bridge.errors import SandboxError
from tests.support.sandbox_process import sandbox_service

_DEAF = "trap '' TERM; while :; do sleep 60; done"
_TREE = f'for i in $(seq 10); do (setsid sh -c "{_DEAF}" &); done; echo up; {_DEAF}'
"""Twenty processes, half of them daemons, none of which minds TERM."""


async def pause(runs: int) -> list[Figure]:
    """From the wish to the word that all stands still, and back."""
    paused, resumed = list[float](), list[float]()
    with sandbox_service() as url:
        async with bridge_to(url) as bridge, bridge.open(str(uuid.uuid4()), spec(_TREE)) as session:
            await _is_up(session)
            for _ in range(runs * 5):
                paused.append(await _took_ms(session.pause()))
                resumed.append(await _took_ms(session.resume()))
    return [Figure("pause", "ms", paused, at_most=10), Figure("resume", "ms", resumed)]


async def kill(runs: int) -> list[Figure]:
    """From the cancel to the end frame, which is sent when the jail is gone; without a grace."""
    took = []
    with sandbox_service(cancel_grace_s="0") as url:
        async with bridge_to(url) as bridge:
            for _ in range(runs * 5):
                took.append(await _kill_ms(bridge))
                await settled(bridge, 0.1)
    return [Figure("kill", "ms", took, at_most=30)]


async def _kill_ms(bridge: Bridge) -> float:
    async with bridge.open(str(uuid.uuid4()), spec(_TREE)) as session:
        await _is_up(session)
        began = time.perf_counter()
        await session.cancel()
        await session.wait_ended()
        took = time.perf_counter() - began
        assert isinstance(session.error, SandboxError)
    return took * 1000


async def _is_up(session: BridgeSession) -> None:
    async for progress in session:
        if progress["kind"] == "output":
            return


async def _took_ms(wish: Awaitable[None]) -> float:
    began = time.perf_counter()
    await wish
    return (time.perf_counter() - began) * 1000
