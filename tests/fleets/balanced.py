"""A crowd that comes by way of the load balancer, and comes back by it whenever it is sent off or cut off."""

import contextlib
import json
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.support.fleet import Fleet
from tests.support.gateway import Client, client, is_final
from tests.support.history import check_all
from tests.support.waiting import let_pass

TASKS: Final = 12
CLIENTS: Final = 40
TICKS: Final = 60
GONE: Final = (ConnectionClosed, InvalidHandshake, OSError, EOFError, TimeoutError)


async def submitted(fleet: Fleet) -> list[str]:
    """Tasks that last as long as the restart: 15 s each, and more for what is done anew."""
    given = {"agent": "ticker", "input": {"task": "count", "ticks": TICKS, "every_s": 0.25}}
    async with client(fleet.socket_url) as me:
        return [await me.submit(mode="background", **given) for _ in range(TASKS)]


class Crowd:
    """Clients of the balancer: how often one came, and when those that were sent off were told to come back, in ms."""

    def __init__(self, fleet: Fleet) -> None:
        self.came = 0
        self.off: list[int] = []
        self._fleet = fleet

    async def follows(self, task_id: str) -> tuple[str, list[str]]:
        """All of a task, over as many connections as it takes."""
        frames: list[str] = []
        while not (frames and is_final(json.loads(frames[-1]))):
            with contextlib.suppress(*GONE):
                async with client(self._fleet.socket_url) as me:
                    await self._reads(me, task_id, frames)
            await let_pass(0.1)
        return task_id, frames

    async def _reads(self, me: Client, task_id: str, frames: list[str]) -> None:
        answer = await me.ask("subscribe", task_id=task_id, after_seq=len(frames))
        self.came += "task" in answer
        try:
            await me.until_ended(task_id)
        finally:
            frames += me.frames.get(task_id, [])
            if me.goodbye is not None:
                self.off.append(me.goodbye["reconnect_in_ms"])


def check_counted(followed: list[tuple[str, list[str]]]) -> None:
    """All who followed a task saw the same, whole; and it counted to its end."""
    for task_id in {task_id for task_id, _ in followed}:
        histories = [frames for of, frames in followed if of == task_id]
        check_all(histories)
        end = json.loads(histories[0][-1])["data"]
        assert (end["status"], end["result"]) == ("completed", {"ticks": TICKS})
