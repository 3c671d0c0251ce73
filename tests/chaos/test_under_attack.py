"""What honest clients notice of an attack."""

import asyncio
import itertools
import signal
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.kernel import cpu_s
from tests.support.waiting import let_pass

WINDOWS: Final = 12
"""Of calm, and as many of attack, one after the other: what else the machine does meets both alike."""
WINDOW_S: Final = 3.0
HONEST: Final = 8
PAUSE_S: Final = 0.02


@asynccontextmanager
async def attackers(gateway: GatewayProcess) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of them, which waits to be sent on; it takes only the time that is left over."""
    command = (
        "chrt",
        "--other",
        "0",
        "nice",
        "-n",
        "10",
        sys.executable,
        "-m",
        "tests.support.attackers",
        gateway.url,
    )
    process = await asyncio.create_subprocess_exec(*command)
    process.send_signal(signal.SIGSTOP)
    try:
        yield process
    finally:
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


@pytest.mark.timeout(600)
async def test_honest_clients_wait_no_more_than_twice_as_long(tmp_path: Path) -> None:
    """While others flood, drip, bomb and send rubbish, the 99th of a hundred answers takes at most twice as long as
    without them, by the median of many windows; nothing of it is an error of ours."""
    env = {"GATEWAY_LOG_LEVEL": "error", "GATEWAY_QUEUE_S": "3600"}
    async with AsyncExitStack() as held:
        gateway = await held.enter_async_context(
            running_gateway(tmp_path / "data", "--no-local-sandbox", env=env)
        )
        honest = [await held.enter_async_context(client(gateway.socket_url)) for _ in range(HONEST)]
        evil = await held.enter_async_context(attackers(gateway))
        await waits(honest)
        calm, attacked = list[float](), list[float]()
        for _ in range(WINDOWS):
            calm.append(p99(await waits(honest)))
            evil.send_signal(signal.SIGCONT)
            await let_pass(0.5)
            attacked.append(p99(await waits(honest)))
            evil.send_signal(signal.SIGSTOP)
            await let_pass(0.5)
        assert evil.returncode is None
        assert cpu_s(evil.pid) > 1, "nobody attacked"
    without, during = statistics.median(calm), statistics.median(attacked)
    print(f"p99 {without * 1e3:.1f} ms, in an attack {during * 1e3:.1f} ms: {during / without:.2f}")  # noqa: T201
    assert during <= 2 * without
    assert (tmp_path / "data.log").read_text() == ""
