"""What is done in a seed: tasks of some kinds, and people who wish something of them while they run."""

import asyncio
import random
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import WebSocketException

from tests.support.gateway import Client, client
from tests.support.history import HistoryError
from tests.support.waiting import let_pass

GATEWAY_PORT = 80
WORK = (
    ("lines 50", "sleepy 5 20", "lines 20"),
    ("sleepy 40 250", "echo over"),
    ("echo a", "stderr b", "lines 200"),
)


@dataclass(frozen=True)
class Order:
    """A task, and what will be done to it. With `lines` it reads them and says them again."""

    commands: tuple[str, ...]
    lines: int
    wishes: tuple[str, ...]

    @classmethod
    def drawn(cls, rng: random.Random) -> "Order":
        """One of many."""
        lines = rng.choice((0, 0, 0, 5, 30))
        wishes = [rng.choice(("pause_task", "resume_task")) for _ in range(rng.randrange(7))]
        if rng.random() < 0.15:
            wishes.append("cancel_task")
        return cls(("cat",) if lines else rng.choice(WORK), lines, tuple(wishes))

    @property
    def input(self) -> dict[str, Any]:
        """As it is submitted."""
        return {"commands": list(self.commands), "stdin": self.lines > 0}

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody will want its end."""
        return "cancel_task" in self.wishes

    @property
    def text(self) -> str:
        """All that it is sent."""
        return "".join(f"line {number}\n" for number in range(self.lines))


async def steer(task_id: str, order: Order, rng: random.Random) -> None:
    """All that is done to a task. In the end it goes on, and what it reads has an end."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_wish(task_id, order, rng))
        if order.lines:
            group.create_task(_feed(task_id, order, rng))


async def _wish(task_id: str, order: Order, rng: random.Random) -> None:
    for wish in (*order.wishes, *(() if order.is_cancelled else ("resume_task",))):
        await let_pass(rng.uniform(0, 1.0))
        await _ask(rng, wish, task_id=task_id, reason="the weather")


async def _feed(task_id: str, order: Order, rng: random.Random) -> None:
    for number in range(order.lines):
        await let_pass(rng.uniform(0, 0.2))
        await _ask(rng, "send_input", task_id=task_id, data=f"line {number}\n", key=f"{number}")
    await _ask(rng, "send_input", task_id=task_id, data="", eof=True, key="end")


async def _ask(rng: random.Random, kind: str, **fields: Any) -> None:
    """Ask until it is answered; a task that has ended takes no more. Raises `HistoryError` for any other refusal."""
    while True:
        try:
            async with asyncio.timeout(30), connected() as me:
                answer = await me.ask(kind, **fields)
        except (OSError, TimeoutError, WebSocketException):
            await let_pass(rng.uniform(0, 0.5))
        else:
            if answer.get("code", "invalid_state") != "invalid_state":
                raise HistoryError(f"{kind} was answered {answer}")
            return


def connected() -> AbstractAsyncContextManager[Client]:
    """A client's connection to the simulated gateway."""
    return client(
        f"ws://127.0.0.1:{GATEWAY_PORT}/ws", open_timeout=10, close_timeout=1, ping_interval=4, ping_timeout=4
    )
