"""What honest clients notice of an attack."""

import asyncio
import itertools
import json
import signal
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.attackers import CHUNKS, HEADS, KINDS, LISTS, PATHS, SAID
from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.waiting import let_pass

WINDOWS: Final = 5
"""Of calm, and as many of an attack, one after the other: what else the machine does meets both alike."""
WINDOW_S: Final = 3.0
HONEST: Final = 8
PAUSE_S: Final = 0.02
TASKS: Final = 1050
"""Of which there are lists."""
EACH: Final = 150
SOCKETS: Final = {"hostile frames", "bombs", "come and gone", "pings", "requests", "pieces", "silent"}
DONE: Final = {
    "sockets": SOCKETS,
    "requests": {*PATHS, *HEADS, CHUNKS},
    "lists": {next(iter(wanted)) for wanted in LISTS},
    "sandboxes": set(SAID),
}
"""What each kind of attackers does."""


class Attack:
    """A process of attackers, which waits to be sent on; it takes only the time that is left over."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        process.send_signal(signal.SIGSTOP)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Inside the block they attack."""
        self._process.send_signal(signal.SIGCONT)
        await let_pass(0.5)
        yield
        self._process.send_signal(signal.SIGSTOP)
        await let_pass(0.5)

    async def ended(self) -> dict[str, int]:
        """How much of it was done."""
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGTERM)
        said, _ = await self._process.communicate()
        found: dict[str, int] = json.loads(said)
        return found


@asynccontextmanager
async def attackers(gateway: GatewayProcess, kind: str) -> AsyncIterator[Attack]:
    """Those of that kind."""
    nice = ("chrt", "--other", "0", "nice", "-n", "10")
    command = (*nice, sys.executable, "-m", "tests.support.attackers", gateway.url, kind)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield Attack(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def waits(honest: list[Client]) -> list[float]:
    """How long each answer takes in one window: pings, tasks that are submitted, looked at and listed."""
    found, now = list[float](), asyncio.get_running_loop().time
    until = now() + WINDOW_S

    async def ask(me: Client) -> None:
        for n in itertools.count():
            if now() > until:
                return
            began = now()
            if n % 10 == 0:
                answer = await me.ask("submit_task", mode="background")
                assert "task" in answer, answer
            else:
                answer = await me.ask(*(("ping",) if n % 3 else ("list_tasks",)))
            found.append(now() - began)
            await let_pass(PAUSE_S)

    async with asyncio.TaskGroup() as group:
        for me in honest:
            group.create_task(ask(me))
    return found


def p99(found: list[float]) -> float:
    """Of the waits of a window."""
    return sorted(found)[int(len(found) * 0.99)]


async def submit_many(gateway: GatewayProcess) -> None:
    """What lists are of: each session submits what it may in one go."""

    async def submit() -> None:
        async with client(gateway.socket_url) as me:
            for _ in range(EACH):
                answer = await me.ask("submit_task", mode="background", labels={"k": "v"})
                assert "task" in answer, answer

    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS // EACH):
            group.create_task(submit())


async def compared(honest: list[Client], attack: Attack) -> tuple[float, float]:
    """The 99th of a hundred waits, calm and attacked, each by the median of many windows."""
    calm, attacked = list[float](), list[float]()
    for _ in range(WINDOWS):
        calm.append(p99(await waits(honest)))
        async with attack.going_on():
            attacked.append(p99(await waits(honest)))
    return statistics.median(calm), statistics.median(attacked)


@pytest.mark.timeout(600)
async def test_honest_clients_wait_no_more_than_twice_as_long(tmp_path: Path) -> None:
    """While others flood, drip, bomb and send rubbish, ask on and on by HTTP or for lists, or flood as sandboxes, the
    99th of a hundred answers takes at most twice as long as without them, by the median of many windows; nothing of it
    is an error of ours."""
    env = {"GATEWAY_LOG_LEVEL": "error", "GATEWAY_QUEUE_S": "3600"}
    unlimited = {"GATEWAY_SUBMITS_PER_S": "0"}
    async with AsyncExitStack() as held:
        gateway = await held.enter_async_context(
            running_gateway(tmp_path / "data", "--no-local-sandbox", env=env | unlimited)
        )
        honest = [await held.enter_async_context(client(gateway.socket_url)) for _ in range(HONEST)]
        attacks = {kind: await held.enter_async_context(attackers(gateway, kind)) for kind in KINDS}
        await submit_many(gateway)
        await waits(honest)
        found = {kind: await compared(honest, attack) for kind, attack in attacks.items()}
        done = {kind: await attack.ended() for kind, attack in attacks.items()}
    for kind, (quiet, wait) in found.items():
        print(f"p99 {quiet * 1e3:.1f} ms, {kind}: {wait * 1e3:.1f} ms, {wait / quiet:.2f}; {done[kind]}")  # noqa: T201
    assert {kind: {name for name, count in what.items() if count} for kind, what in done.items()} == DONE
    assert [kind for kind, (quiet, wait) in found.items() if wait > 2 * quiet] == []
    assert (tmp_path / "data.log").read_text() == ""
