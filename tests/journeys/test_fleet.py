"""A fleet of real processes: up with one command, one to its clients, and whole while its Redis lies."""

import asyncio
import io
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from websockets import Subprotocol
from websockets.asyncio.client import ClientConnection, connect

from tests.fleets.storm import AGENTS, QUICK_LEASES
from tests.house.source import ROOT
from tests.support.fleet import Fleet, Instance, running_fleet
from tests.support.gateway import client, output_of
from tests.support.history import check_all
from tests.support.postgres import free_port
from tests.support.processes import with_marker
from tests.support.site_script import SITE
from tests.support.waiting import eventually

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

READY_S = 120.0
PREVIEWS = "preview.localhost"
COUNTS: dict[str, Any] = {"agent": "ticker", "input": {"task": "count", "ticks": 3000, "every_s": 0.1}}
TAB = {
    "type": "hello",
    "protocol": "sandbox.v1",
    "sandbox_id": "tab",
    "boot_id": "b",
    "max_sessions": 1,
    "runtime": "webcontainer",
    "capabilities": [],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Two gateways, and a worker with the sandboxes; leases are a third of the real ones."""
    env = {"GATEWAY_PREVIEW_HOST": PREVIEWS, "GATEWAY_AGENTS": AGENTS, "GATEWAY_QUEUE_S": "3", **QUICK_LEASES}
    async with running_fleet(tmp_path_factory.mktemp("fleet"), env=env) as running:
        yield running


async def degraded(instance: Instance) -> list[str]:
    """What an instance says that it does without, ready all the same."""
    async with aiohttp.ClientSession() as http, http.get(f"{instance.url}/readyz") as answer:
        assert answer.status == 200
        found: list[str] = (await answer.json())["degraded"]
        return found


async def fails(instance: Instance, parts: list[str]) -> bool:
    """Whether an instance says that it is not ready, for want of these parts, whatever else."""
    async with aiohttp.ClientSession(instance.url) as http, http.get("/readyz") as answer:
        failing = (await answer.json())["failing"]
        return answer.status == 503 and {*parts} <= {*failing}


async def all_are(fleet: Fleet, *expected: list[str]) -> bool:
    """Whether each of the gateways says so."""
    return [await degraded(gateway) for gateway in fleet.gateways] == list(expected)


async def test_task_is_submitted_steered_and_watched_anywhere(fleet: Fleet) -> None:
    """Submitted at two, run by the worker, watched at both, cancelled from two: the same events, soon."""
    one, two = fleet.gateways
    async with client(one.socket_url) as near, client(two.socket_url) as far:
        await far.ask("watch", topic="tasks")
        task_id = await far.submit("echo here; sleep 60")
        await near.ask("subscribe", task_id=task_id)
        await far.until_event(task_id, "output", text="here\n")
        assert "task" in await far.ask("cancel_task", task_id=task_id)
        async with asyncio.timeout(10):
            await far.until_ended(task_id)
            await near.until_ended(task_id)
        check_all([near.frames[task_id], far.frames[task_id]])
        assert near.frames[task_id] == far.frames[task_id]
        while not any(update.get("item", {}).get("status") == "cancelled" for update in far.updates):
            await far.read()


async def test_nobody_misses_an_event_when_redis_is_lost(fleet: Fleet) -> None:
    """Killed and started empty under a task: each says so, serves on, and both see the whole log."""
    one, two = fleet.gateways
    async with client(one.socket_url) as near, client(two.socket_url) as far:
        task_id = await far.submit("for n in $(seq 1 100); do echo line $n; sleep 0.05; done")
        await near.ask("subscribe", task_id=task_id)
        await far.until_event(task_id, "output")
        await asyncio.to_thread(fleet.redis.kill)
        await eventually(lambda: all_are(fleet, ["bus"], ["bus"]), within_s=20)
        assert await far.submit("true", mode="blocking")
        await asyncio.to_thread(fleet.redis.start)
        await eventually(lambda: all_are(fleet, [], []), within_s=20)
        for who in (near, far):
            events = await who.until_ended(task_id)
            assert output_of(events) == "".join(f"line {n}\n" for n in range(1, 101))
        check_all([near.frames[task_id], far.frames[task_id]])


async def site_is_whole(http: aiohttp.ClientSession, host: str) -> None:
    """A page, streams both ways, and messages."""
    async with http.get("/hello") as answer:
        assert await answer.text() == f"hello from {host}"
    async with http.post("/upload", data=io.BytesIO(b"u" * (4 << 20))) as answer:
        assert (await answer.text()).startswith(str(4 << 20))
    async with http.get("/ticks") as answer:
        first = await answer.content.readuntil(b"\n\n")
        assert (first, answer.content.at_eof()) == (b"data: 0\n\n", False)
    async with http.ws_connect("/socket") as socket:
        await socket.send_str("ping")
        assert await socket.receive_str(timeout=10) == "ping"


async def test_site_of_another_instances_sandbox_is_seen_everywhere(fleet: Fleet) -> None:
    """Its page, streams both ways and messages, by way of the instance that holds it, and with the site's own host."""
    (holder,), other = fleet.workers, fleet.gateways[0]
    async with client(other.socket_url) as me:
        task_id = await me.submit(input={"files": {"site.py": SITE}, "commands": ["python3 site.py"]})
        url = (await me.until_event(task_id, "server_ready"))["data"]["url"]
        host = {"Host": str(urlsplit(url).hostname)}
        for at in (holder.url, other.url, fleet.url):
            async with aiohttp.ClientSession(at, headers=host) as http:
                await site_is_whole(http, host["Host"])
        await me.ask("cancel_task", task_id=task_id)
        await me.until_ended(task_id)
        async with aiohttp.ClientSession(other.url, headers=host) as http, http.get("/") as answer:
            assert answer.status == 410


async def test_redis_that_takes_and_delivers_nothing_is_found_and_costs_nobody_an_event(fleet: Fleet) -> None:
    """The other gateway notices nothing; the one behind the fault says `degraded`, serves on, and its clients have
    everything when Redis is back, if not before."""
    near, far = fleet.gateways
    async with client(near.socket_url) as here, client(far.socket_url) as there:
        task_id = await here.submit("for n in $(seq 1 80); do echo line $n; sleep 0.05; done")
        await there.ask("subscribe", task_id=task_id)
        await there.until_event(task_id, "output")
        far.redis.swallow()

        await eventually(lambda: all_are(fleet, [], ["bus"]), within_s=10)
        assert await there.submit("echo served", mode="blocking")
        await here.until_ended(task_id)
        far.redis.flow()
        await there.until_ended(task_id)
        check_all([here.frames[task_id], there.frames[task_id]])
        assert far.redis.hits["swallowed"] > 0
        await eventually(lambda: all_are(fleet, [], []), within_s=20)


async def ends_as(gateway: Instance, task_id: str, status: str) -> bool:
    """Whether a task has that status now, as one sees it who does not follow it."""
    async with aiohttp.ClientSession(gateway.url) as http, http.get(f"/v1/tasks/{task_id}") as answer:
        return bool((await answer.json())["task"]["status"] == status)


async def last_event(gateway: Instance, task_id: str) -> dict[str, Any]:
    """How its log ends."""
    async with client(gateway.socket_url) as me:
        await me.ask("subscribe", task_id=task_id)
        return (await me.until_ended(task_id))[-1]["data"]  # type: ignore[no-any-return]


async def test_task_runs_on_while_anybody_watches_it_at_any_instance(fleet: Fleet) -> None:
    """One of two watchers leaves: nothing; the other, too: it is cancelled, by `detach`."""
    near, far = fleet.gateways
    async with client(near.socket_url) as one, client(far.socket_url) as other:
        task_id = await one.submit(**COUNTS, detach="cancel", detach_after_s=1)
        await other.ask("subscribe", task_id=task_id)
        await one.until_event(task_id, "progress", tick=1)
        await one.ask("unsubscribe", task_id=task_id)
        await other.until_event(task_id, "progress", tick=30)
    await eventually(lambda: ends_as(near, task_id, "cancelled"))
    assert (await last_event(near, task_id))["by"] == "detach"


async def test_watchers_go_with_their_instance(fleet: Fleet) -> None:
    """Who watches at an instance that is killed and does not come back elsewhere watches no more."""
    near, far = fleet.gateways
    async with client(far.socket_url) as me:
        task_id = await me.submit(**COUNTS, detach="cancel", detach_after_s=1)
        await me.until_event(task_id, "progress", tick=1)
        await far.kill()
    await eventually(lambda: ends_as(near, task_id, "cancelled"))
    await far.start()
    assert (await last_event(far, task_id))["by"] == "detach"


@pytest.mark.parametrize("ways", [("postgres",), ("postgres", "redis")], ids=" and ".join)
async def test_gateway_without_its_store_promises_nothing_and_loses_nothing(
    fleet: Fleet, ways: tuple[str, ...]
) -> None:
    """Its clients are told `unavailable`, those of the other notice nothing; when it is back, all have all of it."""
    near, far = fleet.gateways
    proxies = [getattr(near, way) for way in ways]
    async with client(near.socket_url) as here, client(far.socket_url) as there:
        task_id = await there.submit("for n in $(seq 1 60); do echo line $n; sleep 0.05; done")
        await here.ask("subscribe", task_id=task_id)
        await here.until_event(task_id, "output")
        for proxy in proxies:
            proxy.refuses = True
            proxy.cut_all()
        answer = await here.ask("submit_task", mode="background", **COUNTS)
        assert (answer["code"], answer["retryable"]) == ("unavailable", True)
        assert "time" in await here.ask("ping")
        await eventually(lambda: fails(near, ["store"]))
        assert await there.submit("true", mode="blocking")
        await there.until_ended(task_id)
        for proxy in proxies:
            proxy.flow()
        await here.until_ended(task_id)
        check_all([here.frames[task_id], there.frames[task_id]])
        assert here.frames[task_id] == there.frames[task_id]
        assert "task" in await here.ask("submit_task", mode="blocking", input={"commands": ["true"]})


async def test_sandbox_that_joins_anywhere_serves_who_waits_and_none_is_told(fleet: Fleet) -> None:
    """Of tasks for a runtime that nobody has, one fails (`no_sandbox`), one is run by a tab that dials in elsewhere."""
    near, far = fleet.gateways
    asking = {"commands": ["npm start"], "sandbox": {"runtime": "webcontainer"}}
    async with client(near.socket_url) as me:
        first = await me.submit(input=asking)
        ended = (await me.until_ended(first))[-1]["data"]
        assert (ended["status"], ended["error"]["code"]) == ("failed", "no_sandbox")
        second = await me.submit(input=asking)
        url = far.url.replace("http", "ws", 1) + "/sandbox"
        async with connect(url, subprotocols=[Subprotocol("sandbox.v1")], proxy=None) as tab:
            await tab.send(json.dumps(TAB))
            session_id = (await heard(tab, "stream_task"))["session_id"]
            result = {"status": "completed", "exit_code": 0, "url": None, "commands": [], "files": []}
            end = {"type": "task_completed", "session_id": session_id, "seq": 1, "result": result}
            await tab.send(json.dumps(end))
            assert (await me.until_ended(second))[-1]["data"]["status"] == "completed"


async def heard(tab: ClientConnection, kind: str) -> dict[str, Any]:
    """The next frame of that type that a sandbox is sent."""
    async with asyncio.timeout(READY_S):
        while (frame := json.loads(await tab.recv()))["type"] != kind:
            pass
    return frame  # type: ignore[no-any-return]


async def test_fleet_is_up_with_one_command_and_gone_with_ctrl_c() -> None:
    """It says where everything is; tasks submitted at the balancer are seen there; an instance that is killed comes
    back; Ctrl-C leaves nothing behind."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.fleet_cli", "--port", str(port)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(READY_S):
        said = (await process.stdout.readuntil(b"Ctrl-C")).decode()
        async with (
            client(f"ws://127.0.0.1:{port}/ws") as one,
            client(f"ws://127.0.0.1:{port}/ws") as other,
        ):
            task_id = await one.submit("echo hello", mode="blocking")
            await other.ask("subscribe", task_id=task_id)
            await other.until_ended(task_id)
            assert one.welcome["instance"] != other.welcome["instance"]
        os.kill(int(re.findall(r"gateway-1 .* process (\d+)", said)[0]), signal.SIGKILL)
        assert b"killed by signal 9" in await process.stdout.readuntil(b"gateway-1: ready again")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    folder = re.findall(r"\S+/gateway-fleet-\w+", said)[0]
    ports = re.findall(r"127\.0\.0\.1:(\d+)", said)
    assert len(ports) == 6
    assert with_marker(folder) == []
    for gone in ports:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(gone))
