"""What a client leaves behind in memory."""

import gc
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.gateway import client
from tests.support.hostile_clients import Tally, attack
from tests.support.in_process import serving
from tests.support.raw_websocket import Door
from tests.support.waiting import eventually

FRAMES = 600


async def comes_and_goes(url: str, seed: int) -> None:
    """Every way to come, to ask and to end: by a good client, by hostile ones, and by HTTP."""
    door = Door(url)
    async with client(url.replace("http", "ws", 1) + "/ws") as honest:
        task_id = await honest.submit("true", mode="background")
        await honest.ask("subscribe", task_id=task_id)
        await honest.ask("watch", topic="tasks")
        await attack(door, [task_id], seed=seed, frames=FRAMES, tally=Tally())
        stream = {"Accept": "text/event-stream"}
        async with aiohttp.ClientSession(url) as session:
            async with session.get(f"/v1/tasks/{task_id}/events", headers=stream) as response:
                await response.content.readany()
            async with session.get("/nothing") as response:
                assert response.status == 404


async def asked(session: aiohttp.ClientSession, what: str) -> list[Any]:
    """What the list of `what` has now."""
    async with session.get(f"/v1/{what}") as response:
        found: list[Any] = (await response.json())[what]
        return found


async def test_whoever_goes_leaves_nothing_for_the_collector(tmp_path: Path) -> None:
    """What a connection or a refused request took is free as it ends: nothing of ours refers to itself, and waits for
    Python's search for circles, however a client ends."""
    async with serving(tmp_path / "data", requests_per_s=0, submits_per_s=0) as url:
        await comes_and_goes(url, seed=1)  # what is made once is made

        async def all_gone() -> bool:
            async with aiohttp.ClientSession(url) as session:
                instances = await asked(session, "instances")
                return instances[0]["connections"] == 0 and not await asked(session, "sandboxes")

        gc.collect()
        gc.freeze()  # what other tests have left alive is not ours to find
        gc.disable()
        try:
            await comes_and_goes(url, seed=100)
            await eventually(all_gone)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
        finally:
            gc.set_debug(0)
            gc.enable()
            gc.unfreeze()
        left = Counter(type(thing).__qualname__ for thing in gc.garbage if _is_ours(thing))
        gc.garbage.clear()
    assert not left


def _is_ours(thing: object) -> bool:
    return type(thing).__module__.startswith(("gateway.", "sandbox_bridge."))
