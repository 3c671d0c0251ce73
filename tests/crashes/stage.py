"""Where a crash is played: a gateway that dies at its point, another that takes its data over, and what must hold.

After every crash: the dead one leaves no process behind; what a client was shown before is, byte for byte, the
beginning of what it is shown after; a submit repeated with its key is one task; its log is whole and has one end.
"""

import contextlib
import json
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from websockets.exceptions import ConnectionClosed

from tests.support.gateway import Client, GatewayProcess, client, ended_within, running_gateway, start_gateway
from tests.support.history import check_one
from tests.support.processes import children_of, until

OUTSIDE: Final = ""
"""Of a state that lasts: the process is killed from outside, while it is in it."""
KEY: Final = "the key"
"""The idempotency key of every submit here."""
DEATH_S: Final = 30.0
"""A gateway that has not come to its point by then does not come to it."""
NO_SANDBOX: Final = "--no-local-sandbox"

Act = Callable[["Stage"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """One row of `docs/crash-points.md`, and the test that kills there.

    `at` is `before` or `after` and a name of the product's code, or `OUTSIDE`; see `launch`. The docstring of
    `act` says what happens after the restart.
    """

    name: str
    at: str
    act: Act
    on_disk: str
    client: str
    only: str = "always"
    nth: int = 1
    quick: bool = False
    """Whether `make test` plays it; else `make chaos` does."""

    @property
    def program(self) -> Sequence[str]:
        """How the gateway is started that dies there."""
        if self.at == OUTSIDE:
            return ("-m", "gateway")
        when, _, where = self.at.partition(" ")
        return ("-m", "tests.crashes.launch", when, where, str(self.nth), self.only)


@dataclass
class Seen:
    """What a client saw of its one task: its answer, if it got one, and frames of events."""

    answer: dict[str, Any] | None = None
    frames: list[str] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events."""
        return [json.loads(frame) for frame in self.frames]

    @property
    def path(self) -> str:
        """The statuses, each with its reason: `pending running pending/instance_lost running completed`."""
        told = [event["data"] for event in self.events if event["event"] == "status"]
        return " ".join(
            f"{data['status']}/{data['reason']}" if data.get("reason") else data["status"] for data in told
        )

    @property
    def output(self) -> str:
        """What the task's last attempt wrote."""
        text = ""
        for event in self.events:
            if event["event"] == "status" and event["data"]["status"] == "running":
                text = ""
            elif event["event"] == "output":
                text += event["data"]["text"]
        return text


class Stage:
    """One crash, played in `data_dir`."""

    def __init__(self, point: CrashPoint, data_dir: Path) -> None:
        self.point = point
        self.data_dir = data_dir
        self.options: Sequence[str] = ()
        self.env: Mapping[str, str] = {}
        """What all its gateways are given."""
        self.seen = Seen()

    # --- before ---------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def doomed(
        self, *options: str, env: Mapping[str, str] | None = None
    ) -> AsyncIterator[GatewayProcess]:
        """A gateway that is killed at the point: by the end of the block it is dead."""
        program = self.point.program
        async with running_gateway(
            self.data_dir, *options, *self.options, env={**self.env, **(env or {})}, program=program
        ) as gateway:
            family = children_of(gateway.pid)
            yield gateway
            if self.point.at == OUTSIDE and gateway.process.returncode is None:
                await gateway.kill()
            assert await ended_within(gateway.process, DEATH_S) == -signal.SIGKILL, (
                "it did not come to its point"
            )
            await until(lambda: not any(map(_is_there, family)), within_s=10, what="its processes to be gone")

    async def dies_at_its_start(self, *options: str, env: Mapping[str, str] | None = None) -> None:
        """Start a gateway that never gets as far as to be ready."""
        process = await start_gateway(
            self.data_dir,
            *options,
            *self.options,
            env={**self.env, **(env or {})},
            program=self.point.program,
        )
        code = await ended_within(process, DEATH_S)
        if code is None:
            process.kill()
            await process.wait()
        assert code == -signal.SIGKILL, "it did not come to its point"

    async def submits(self, me: Client, *commands: Any, **fields: Any) -> None:
        """Submit the task; its answer is not waited for."""
        given = {"input": {"commands": list(commands)}, "idempotency_key": KEY, **fields}
        await me.send("submit_task", **given)

    async def sees_the_death(self, me: Client) -> list[dict[str, Any]]:
        """The frames that come until the socket drops; what they tell of the task is kept in `seen`."""
        frames: list[dict[str, Any]] = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                frames.append(await me.read())
                self._keep(frames[-1], me)
        return frames

    async def sees(self, me: Client, kind: str, **data: Any) -> dict[str, Any]:
        """Read until an event of that kind has come, of the one task that there is; keeps it."""
        while True:
            found = next(
                (e for e in self.seen.events if e["event"] == kind and data.items() <= e["data"].items()),
                None,
            )
            if found is not None:
                return found
            self._keep(await me.read(), me)

    def _keep(self, frame: dict[str, Any], me: Client) -> None:
        if frame["type"] == "result" and "task" in frame["result"] and self.seen.answer is None:
            self.seen.answer = frame["result"]
        elif frame["type"] == "event":
            self.seen.frames = me.frames[frame["task_id"]]

    async def submits_and_dies(
        self, *commands: Any, options: Sequence[str] = (), env: Mapping[str, str] | None = None, **fields: Any
    ) -> Seen:
        """Submit the task to a doomed gateway, and see it die."""
        async with self.doomed(*options, env=env) as gateway, client(gateway.socket_url) as me:
            await self.submits(me, *commands, **fields)
            await self.sees_the_death(me)
        return self.seen

    # --- after ----------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def again(
        self, *options: str, env: Mapping[str, str] | None = None
    ) -> AsyncIterator[GatewayProcess]:
        """The gateway that takes over."""
        async with running_gateway(
            self.data_dir, *options, *self.options, env={**self.env, **(env or {})}
        ) as gateway:
            yield gateway

    @contextlib.asynccontextmanager
    async def back(self, *options: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Client]:
        """A client of the gateway that takes over."""
        async with self.again(*options, env=env) as gateway, client(gateway.socket_url) as me:
            yield me

    async def repeats(self, me: Client, *commands: Any, **fields: Any) -> bool:
        """Submit the task again with its key, and follow it; whether it was there."""
        given = {"input": {"commands": list(commands)}, "idempotency_key": KEY, **fields}
        answer = await me.ask("submit_task", **given | {"mode": "streaming"})
        assert "task" in answer, answer
        if self.seen.answer is not None:
            assert answer["replayed"], "what was answered is gone"
            assert answer["task"]["task_id"] == self.seen.answer["task"]["task_id"]
        self.seen.answer = answer
        return bool(answer["replayed"])

    @property
    def task_id(self) -> str:
        """The one task's."""
        assert self.seen.answer is not None
        task_id: str = self.seen.answer["task"]["task_id"]
        return task_id

    async def ends(self, me: Client) -> Seen:
        """The task's whole log, once it has ended; what was seen before the crash must be its beginning."""
        await me.until_ended(self.task_id)
        frames = me.frames[self.task_id]
        check_one(frames)
        assert frames[: len(self.seen.frames)] == self.seen.frames, (
            "what was shown before is not there any more"
        )
        assert len((await me.ask("list_tasks"))["tasks"]) == 1
        return Seen(self.seen.answer, frames)

    async def story(self, *commands: Any, **fields: Any) -> "Story":
        """After the crash: start again, repeat the submit, and see the task to its end."""
        async with self.again() as gateway, client(gateway.socket_url) as me:
            was_there = await self.repeats(me, *commands, **fields)
            whole = await self.ends(me)
        return Story(was_there, whole.path, whole.output)

    def rows(self, table: str) -> int:
        """How many rows a table of the store has."""
        with contextlib.closing(sqlite3.connect(self.data_dir / "gateway.db")) as db:
            (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
            return int(count)


@dataclass(frozen=True)
class Story:
    """How it went on: whether the repeated submit found its task, its statuses, and its last attempt's output."""

    was_there: bool
    path: str
    output: str


def _is_there(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


POINTS: Final[dict[str, CrashPoint]] = {}
"""All of them by name."""


def crash_point(name: str, at: str, **told: Any) -> Callable[[Act], Act]:
    """Make a function the test of the crash point of that name."""

    def add(act: Act) -> Act:
        assert name not in POINTS
        POINTS[name] = CrashPoint(name, at, act, **told)
        return act

    return add
