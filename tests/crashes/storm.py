"""A gateway that is killed again and again at random moments, under tasks, followers and submits.

A seed is one schedule of kills; what the machine makes of it differs each time, and must not matter.
"""

import asyncio
import contextlib
import json
import random
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from gateway.client.session import connect
from tests.support.gateway import (
    PROGRAM,
    Client,
    GatewayProcess,
    client,
    ended_within,
    is_final,
    running_gateway,
    start_gateway,
)
from tests.support.history import check_all, check_one
from tests.support.waiting import let_pass

ENV: Final = {"SANDBOX_MAX_SESSIONS": "40", "GATEWAY_REQUESTS_PER_S": "0", "GATEWAY_LOG_LEVEL": "warning"}
LONG: Final = "i=1; while [ $i -le {lines} ]; do echo line $i; i=$((i+1)); sleep 0.05; done"
SHORT: Final = "echo begun; sleep 0.1; echo over"
IN_THE_TAKEOVER: Final = ("-m", "tests.crashes.launch", "after", "gateway.work.recovery:lost")
CONNECTION_GONE: Final = (ConnectionClosed, InvalidHandshake, OSError, EOFError, TimeoutError)
MOMENTS: Final = {"starting": 20, "taking over": 20, "working": 35, "submitting": 25}
"""When it is killed, and how often of a hundred times."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill: at a moment, and how far into it (0–1); or once so many orphans are taken up."""

    moment: str
    depth: float
    orphans: int


def schedule(seed: int, kills: int) -> list[Strike]:
    """The same for the same seed."""
    rng = random.Random(seed)
    moments = rng.choices(list(MOMENTS), list(MOMENTS.values()), k=kills)
    return [Strike(moment, rng.random(), rng.randrange(1, 6)) for moment in moments]


class Storm:
    """One run of it: `tasks` long tasks with two followers each, and short ones that come all the time.

    A long one writes `lines` lines, 20 a second; the longer it is, the more gateways it outlives.
    """

    def __init__(self, data_dir: Path, *, seed: int, kills: int, tasks: int, lines: int) -> None:
        self.hits: Counter[str] = Counter()
        """What was hit, so that nobody is glad of a storm that missed."""
        self._data_dir = data_dir
        self._strikes = schedule(seed, kills)
        self._tasks = tasks
        self._lines = lines
        self._port = _free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        self._answered: dict[str, str] = {}
        self._unanswered: dict[str, None] = {}
        self._sending = asyncio.Event()
        self._connected = asyncio.Barrier(tasks + 1)

    async def rages(self) -> None:
        """Kill, and start again, and hold what was promised. Raises `HistoryError`, `AssertionError`."""
        async with asyncio.TaskGroup() as followers:
            async with self._gateway() as gateway, client(gateway.socket_url) as me:
                task_ids = [await self._submits_long(me) for _ in range(self._tasks)]
                eager = [followers.create_task(self._follows_eagerly(i)) for i in task_ids]
                steady = [followers.create_task(self._follows(i)) for i in task_ids]
                await self._connected.wait()  # the client library comes back only where it has been
                await gateway.kill()
            for number, strike in enumerate(self._strikes[1:], 1):
                await self._strikes_at(strike, [f"{number}.{n}" for n in range(3)])
            async with self._gateway() as gateway:
                await asyncio.wait([*eager, *steady])
                await self._hold_submits(gateway)
        for one, other in zip(eager, steady, strict=True):
            self._hold_history(one.result(), other.result())

    # --- kills ----------------------------------------------------------------------------------------------

    def _gateway(self) -> contextlib.AbstractAsyncContextManager[GatewayProcess]:
        return running_gateway(self._data_dir, "--port", str(self._port), env=ENV)

    async def _strikes_at(self, strike: Strike, keys: list[str]) -> None:
        if strike.moment == "starting":
            await self._dies_early(PROGRAM, strike.depth * 1.2)
        elif strike.moment == "taking over":
            await self._dies_early((*IN_THE_TAKEOVER, str(strike.orphans), "always"), 30.0)
        else:
            await self._dies_at_work(strike, keys)

    async def _dies_early(self, program: tuple[str, ...], seconds: float) -> None:
        options = ("--port", str(self._port))
        process = await start_gateway(self._data_dir, *options, env=ENV, program=program)
        if program is PROGRAM:
            await ended_within(process, seconds)
        else:
            await self._dead_or_ready(process)
        self.hits["taking over"] += process.returncode == -signal.SIGKILL
        if process.returncode is None:
            self.hits["starting"] += program is PROGRAM
            process.kill()
        assert await process.wait() == -signal.SIGKILL

    async def _dead_or_ready(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            if await process.stdout.readline() == b"":
                await process.wait()

    async def _dies_at_work(self, strike: Strike, keys: list[str]) -> None:
        async with self._gateway() as gateway, asyncio.TaskGroup() as work:
            self._sending.clear()
            work.create_task(self._submits_short(gateway, keys))
            if strike.moment == "submitting":
                await self._sending.wait()
                await let_pass(strike.depth * 0.01)
            else:
                await let_pass(strike.depth)
            self.hits[strike.moment] += 1
            await gateway.kill()

    # --- who is there ---------------------------------------------------------------------------------------

    async def _submits_long(self, me: Client) -> str:
        return await me.submit(LONG.format(lines=self._lines), mode="background", max_attempts=200)

    async def _submits_short(self, gateway: GatewayProcess, keys: list[str]) -> None:
        """Submit what was not answered before once more, then what is new, until the gateway is gone."""
        self._unanswered |= dict.fromkeys(keys)
        with contextlib.suppress(*CONNECTION_GONE):
            async with client(gateway.socket_url) as me:
                for key in list(self._unanswered):
                    await self._submits_one(me, key)

    async def _submits_one(self, me: Client, key: str) -> None:
        asking = asyncio.ensure_future(_ask_short(me, key))
        await let_pass(0)  # so that it has been sent when others hear of it
        self._sending.set()
        answer = await asking
        assert "task" in answer, answer
        self.hits["found again, unanswered before"] += answer["replayed"]
        task_id: str = answer["task"]["task_id"]
        assert self._answered.setdefault(key, task_id) == task_id
        self._unanswered.pop(key, None)

    async def _follows(self, task_id: str) -> list[str]:
        """Every event of a task, by the client library."""
        async with connect(self._url, give_up_after_s=1800) as session:
            await self._connected.wait()
            return [json.dumps(event) async for event in await session.subscribe(task_id)]

    async def _follows_eagerly(self, task_id: str) -> list[str]:
        """Every frame of a task, by a bare client that comes back at once and knows no more than its last seq."""
        frames: list[str] = []
        while not (frames and is_final(json.loads(frames[-1]))):
            with contextlib.suppress(*CONNECTION_GONE):
                async with client(self._url.replace("http", "ws") + "/ws") as me:
                    await self._reads(me, task_id, frames)
            await let_pass(0.1)
        return frames

    async def _reads(self, me: Client, task_id: str, frames: list[str]) -> None:
        answer = await me.ask("subscribe", task_id=task_id, after_seq=len(frames))
        assert answer.get("recovered"), answer
        self.hits["came back to a running task"] += bool(frames)
        try:
            await me.until_ended(task_id)
        finally:
            frames += me.frames.get(task_id, [])

    # --- what must hold -------------------------------------------------------------------------------------

    def _hold_history(self, eager: list[str], steady: list[str]) -> None:
        check_one(eager)
        check_all([[json.dumps(json.loads(frame)) for frame in eager], steady])
        end = json.loads(eager[-1])["data"]
        assert end["status"] == "completed", end
        self.hits["attempts of long tasks"] += end["attempt"]

    async def _hold_submits(self, gateway: GatewayProcess) -> None:
        """Every answered submit is there, each key is one task, and each has one end."""
        async with client(gateway.socket_url) as me:
            for key in list(self._unanswered):
                await self._submits_one(me, key)
            for key, task_id in self._answered.items():
                answer = await _ask_short(me, key)
                assert (answer["replayed"], answer["task"]["task_id"]) == (True, task_id)
                await me.ask("subscribe", task_id=task_id)
                assert (await me.until_ended(task_id))[-1]["data"]["status"] == "completed"
                check_one(me.frames[task_id])
            listed = [task["task_id"] async for task in _all_tasks(me)]
        assert len(listed) == len(set(listed)) == self._tasks + len(self._answered)
        assert set(self._answered.values()) <= set(listed)
        self.hits["short tasks"] += len(self._answered)


async def _ask_short(me: Client, key: str) -> dict[str, Any]:
    given = {"input": {"commands": [SHORT]}, "mode": "background", "max_attempts": 200}
    return await me.ask("submit_task", **given, idempotency_key=key)


async def _all_tasks(me: Client) -> AsyncIterator[dict[str, Any]]:
    cursor = None
    while True:
        page = await me.ask("list_tasks", limit=200, **({} if cursor is None else {"cursor": cursor}))
        for task in page["tasks"]:
            yield task
        if (cursor := page["cursor"]) is None:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
