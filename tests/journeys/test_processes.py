"""Several processes at one port: real ones, of which each is killed under load, and all are drained."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from gateway.client.session import connect
from gateway.client.task import TaskHandle
from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.processes import own_children_of, until
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

LINES = 60


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """What is between the processes."""
    with redis_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> AsyncIterator[GatewayProcess]:
    """Two processes at one port, whose tasks are taken over quickly."""
    env = {
        "EVENT_BUS_BACKEND": "redis",
        "REDIS_URL": redis.url,
        "GATEWAY_LEASE_S": "0.9",
        "GATEWAY_LEASE_RENEW_S": "0.3",
        "GATEWAY_TAKEOVER_S": "1.2",
    }
    folder = tmp_path_factory.mktemp("processes")
    async with running_gateway(folder / "data", "--processes", "2", env=env) as gateway:
        yield gateway


async def both_instances(gateway: GatewayProcess) -> set[str]:
    """Those that the kernel hands connections to, once two were met."""
    met: set[str] = set()
    async with asyncio.timeout(60):
        while len(met) < 2:
            async with client(gateway.socket_url) as caller:
                met.add(caller.welcome["instance"])
    return met


def own_urls(gateway: GatewayProcess) -> list[str]:
    """Where each process says that it is itself."""
    log = gateway.data_dir.with_suffix(".log").read_text()
    return re.findall(r'"url": "([^"]+)", "event": "gateway ready"', log)


async def seqs_to_output(task: TaskHandle) -> list[int]:
    """Those of the task's next events, up to one that is output."""
    seen: list[int] = []
    async for event in task:
        seen.append(event["seq"])
        if event["event"] == "output":
            break
    return seen


async def test_each_process_is_met_at_a_port_of_its_own(pair: GatewayProcess) -> None:
    """Its metrics are its own; all are told of by any of them."""
    assert pair.url not in own_urls(pair)
    for url in own_urls(pair):
        await eventually(lambda url=url: tells_of_both(url))  # type: ignore[misc]
    async with aiohttp.ClientSession() as http, client(pair.socket_url):
        counts = []
        for url in own_urls(pair):
            async with http.get(f"{url}/metrics") as answer:
                counts += re.findall(r"^gateway_connections (\S+)", await answer.text(), re.MULTILINE)
    assert sorted(counts) == ["0.0", "1.0"]


async def tells_of_both(url: str) -> bool:
    """Whether a process knows of two instances: it looks once a second."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/v1/instances") as answer:
        return len((await answer.json())["instances"]) == 2


async def test_killed_process_owes_nobody_an_event_and_comes_back(pair: GatewayProcess) -> None:
    """Each is killed in turn under a task: who follows it sees the whole log, and the port is served by new ones."""
    before = await both_instances(pair)
    command = f"for n in $(seq {LINES}); do echo $n; sleep 0.05; done"
    async with connect(pair.url) as session:
        task = await session.submit(input={"commands": [command]})
        seen: list[int] = []
        for victim in own_children_of(pair.pid):
            seen += await seqs_to_output(task)
            os.kill(victim, signal.SIGKILL)
            await until(lambda: len(own_children_of(pair.pid)) == 2, within_s=60, what="two processes again")
        async for event in task:
            seen.append(event["seq"])
            last = event
    assert seen == list(range(1, len(seen) + 1))
    assert last["data"]["status"] == "completed"
    assert last["data"]["attempt"] > 1
    assert not await both_instances(pair) & before


async def test_sigterm_drains_all_of_them(pair: GatewayProcess) -> None:
    """Told once, the supervisor tells each; a client hears goodbye; none is left, and all has ended well."""
    processes = own_children_of(pair.pid)
    async with client(pair.socket_url) as caller:
        assert await pair.stop() == 0
        while caller.goodbye is None:
            await caller.read()
    assert caller.goodbye["code"] == 1012
    assert not [pid for pid in processes if is_there(pid)]


def is_there(pid: int) -> bool:
    """Whether the process runs."""
    return Path(f"/proc/{pid}").exists()
