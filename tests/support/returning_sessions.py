"""A process of sessions of the client library that come back when their gateway does: `python -m` this.

Configuration: `url`, and of each session `token` and the `task_ids` that it follows. Orders, each a line of JSON:
`{"heads": {task_id: seq}}` is answered by `at head` when every subscription has come so far, with the time when each
session had; `{"finish": true}` by `read` when every task has ended, with what each saw.
"""

import asyncio
import hashlib
import json
import time
from collections import Counter

import orjson
import uvloop

from gateway.client.connection import Connection, OnEvent, dial
from gateway.client.errors import ClientError, ClosedError, RefusedError, UnreachableError
from gateway.client.http import Http
from gateway.client.session import Session
from gateway.client.task import TaskHandle
from tests.support.puppets import order, say
from tests.support.waiting import let_pass

TOGETHER = 50
"""First handshakes under way at once; to come back nobody is held by us."""
FIRST_TRIES = 10


class Follower:
    """One subscription of a session: its order, and a digest of all that came."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.seq = 0
        self.problem: str | None = None
        self._digest = hashlib.sha256()

    async def follow(self, handle: TaskHandle, moved: asyncio.Event) -> None:
        """Read to the task's end, over as many connections as it takes."""
        try:
            async for event in handle:
                self.seq += 1
                if event["seq"] != self.seq and self.problem is None:
                    self.problem = f"{event['seq']} came where {self.seq} was due"
                self._digest.update(orjson.dumps(event))
                moved.set()
        except ClientError as error:
            self.problem = repr(error)
            moved.set()

    @property
    def report(self) -> tuple[str, int, str]:
        """Task, events and their digest."""
        return self.task_id, self.seq, self._digest.hexdigest()


class Returning:
    """A session, its subscriptions, and how it was received each time."""

    def __init__(self, url: str, token: str, task_ids: list[str], received: Counter[str]) -> None:
        self.followers = [Follower(task_id) for task_id in task_ids]
        self.problem: str | None = None
        self._url = url
        self._token = token
        self._received = received
        self._moved = asyncio.Event()
        self._session = Session(self._dial, Http(url, token))

    async def _dial(self, *, session_id: str | None, on_event: OnEvent) -> Connection:
        try:
            connection = await dial(self._url, token=self._token, session_id=session_id, on_event=on_event)
        except ClientError as error:
            self._received[_kind_of(error)] += 1
            raise
        self._received["welcome"] += 1
        return connection

    async def run(self, gate: asyncio.Semaphore) -> None:
        """Connect, and follow to the end."""
        async with gate:
            await self._open()
        try:
            async with asyncio.TaskGroup() as group:
                for follower in self.followers:
                    group.create_task(follower.follow(self._session.task(follower.task_id), self._moved))
        finally:
            await self._session.aclose()

    async def _open(self) -> None:
        for patience in range(FIRST_TRIES):
            try:
                return await self._session.open()
            except (UnreachableError, RefusedError, ClosedError) as error:
                told_s = getattr(error, "retry_after_s", None) or 0.5
                if patience == FIRST_TRIES - 1:
                    self.followers[0].problem = repr(error)
                    self._moved.set()
            await let_pass(told_s)
        raise AssertionError("no first connection")

    async def reach(self, heads: dict[str, int]) -> float:
        """When every subscription has come as far as its head; s since 1970."""
        while any(follower.seq < heads[follower.task_id] for follower in self.followers):
            if any(follower.problem for follower in self.followers):
                break
            self._moved.clear()
            await self._moved.wait()
        return time.time()


def _kind_of(error: ClientError) -> str:
    if isinstance(error, RefusedError):
        return f"{error.status}"
    return f"{error.code}" if isinstance(error, ClosedError) else str(error).rpartition(": ")[2]


async def main() -> None:
    """Lead the sessions from the first line to the report."""
    config = json.loads(await order())
    received: Counter[str] = Counter()
    sessions = [
        Returning(config["url"], made["token"], made["task_ids"], received) for made in config["sessions"]
    ]
    gate = asyncio.Semaphore(TOGETHER)
    running = asyncio.gather(*(session.run(gate) for session in sessions))
    while "heads" in (told := json.loads(await order())):
        reached = await asyncio.gather(*(session.reach(told["heads"]) for session in sessions))
        say("at head", {"at": reached, "received": received, "problems": _problems(sessions)})
        received.clear()
    await running
    say("read", {"problems": _problems(sessions), "seen": [f.report for s in sessions for f in s.followers]})
    await order()


def _problems(sessions: list[Returning]) -> list[str]:
    return [f.problem for session in sessions for f in session.followers if f.problem]


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
