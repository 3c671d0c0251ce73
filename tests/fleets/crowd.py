"""A process of a fleet's clients: `python -m` this. They submit, follow, and move from instance to instance.

Configuration: `urls` of the instances' sockets, `seed`, `stay_s`, and `tasks`, each with its `key`, `at_s`, `followers`
and the `fields` of its submit. It says `followed` when every task has ended for all its followers, with what they saw.
"""

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import uvloop
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.support.gateway import Client, client, is_final
from tests.support.history import HistoryError, check_one
from tests.support.puppets import order, say
from tests.support.waiting import let_pass

GONE: Final = (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError, EOFError, TimeoutError)
AGAIN_S: Final = 0.3
"""How long a client waits before it tries another instance."""
ANSWER_S: Final = 5.0
"""An instance that has not answered by then may be frozen: the client goes elsewhere."""


class Crowd:
    """All clients of the process."""

    def __init__(self, urls: Sequence[str], rng: random.Random, stay_s: float) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._urls = urls
        self._rng = rng
        self._stay_s = stay_s

    async def lives(self, task: dict[str, Any]) -> dict[str, Any]:
        """Submit a task, in time, and follow it to its end; what was seen of it."""
        await let_pass(task["at_s"])
        task_id = await self._submitted(task)
        followed = await asyncio.gather(*(self._followed(task_id) for _ in range(task["followers"])))
        return {
            "key": task["key"],
            "task_id": task_id,
            "end": json.loads(followed[0][-1])["data"],
            "events": len(followed[0]),
            "digests": [hashlib.sha256("\n".join(frames).encode()).hexdigest() for frames in followed],
        }

    async def _submitted(self, task: dict[str, Any]) -> str:
        """Its id: the same key is submitted until somebody answers, wherever."""
        while True:
            try:
                async with asyncio.timeout(ANSWER_S), client(self._rng.choice(self._urls)) as me:
                    answer = await me.ask("submit_task", idempotency_key=task["key"], **task["fields"])
            except GONE:
                self.counts["submits cut off"] += 1
            else:
                if "task" in answer:
                    self.counts["found again"] += answer["replayed"]
                    return str(answer["task"]["task_id"])
                self._refused(answer, "submit")
            await let_pass(AGAIN_S)

    async def _followed(self, task_id: str) -> list[str]:
        """Every frame of it, over as many instances as it takes."""
        frames: list[str] = []
        while not (frames and is_final(json.loads(frames[-1]))):
            try:
                await self._visited(task_id, frames)
            except GONE:
                self.counts["cut off"] += 1
            await let_pass(AGAIN_S * self._rng.random())
        try:
            check_one(frames)
        except HistoryError as error:
            self.problems.append(f"{task_id}: {error}: {_told(frames)}")
        return frames

    async def _visited(self, task_id: str, frames: list[str]) -> None:
        """Read at one instance for a while, and leave it without a word."""
        async with asyncio.timeout(ANSWER_S):
            visit = client(self._rng.choice(self._urls))
            me = await visit.__aenter__()
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await me.ask("subscribe", task_id=task_id, after_seq=len(frames))
            if "task" not in answer:
                return self._refused(answer, "subscribe")
            self.counts["came back to a running task"] += bool(frames)
            if not answer["recovered"]:
                self.problems.append(f"{task_id}: not recovered after {len(frames)}")
            await self._read(me, task_id)
        finally:
            frames += me.frames.get(task_id, [])
            me.socket.transport.abort()
            await visit.__aexit__(None, None, None)

    async def _read(self, me: Client, task_id: str) -> None:
        try:
            async with asyncio.timeout(self._stay_s * (0.2 + self._rng.random())):
                await me.until_ended(task_id)
        except TimeoutError:
            self.counts["moved"] += 1

    def _refused(self, answer: dict[str, Any], what: str) -> None:
        self.counts[f"{what}: {answer['code']}"] += 1
        if not answer["retryable"]:
            self.problems.append(f"{what}: {answer}")


def _told(frames: Sequence[str]) -> str:
    """What one follower saw, in short."""
    events = [json.loads(frame) for frame in frames]
    return " ".join(f"{e['seq']}={e['event']}{e['data'] if e['event'] == 'status' else ''}" for e in events)[
        :2000
    ]


async def main() -> None:
    """Follow all tasks to their ends."""
    config = json.loads(await order())
    crowd = Crowd(config["urls"], random.Random(config["seed"]), config["stay_s"])
    say("begun")
    seen = await asyncio.gather(*(crowd.lives(task) for task in config["tasks"]))
    say("followed", {"seen": seen, "counts": crowd.counts, "problems": crowd.problems})


if __name__ == "__main__":
    uvloop.run(main())
