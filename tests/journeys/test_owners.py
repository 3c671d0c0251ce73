"""Instances that are lost, over one store and one Redis: another goes on with what they had, and nothing is doubled."""

import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.support.gateway import Client, GatewayProcess, client, output_of, running_gateway
from tests.support.history import check_all
from tests.support.postgres import QUICK, postgres_server
from tests.support.redis_server import RedisServer, redis_server
from tests.support.scrape import metrics_of
from tests.support.waiting import eventually
from tests.support.web import read

pytestmark = pytest.mark.journey

LEASE_S: Final = 2.4
TAKEOVER_S: Final = 3.2
TIMES: Final = {
    "GATEWAY_LEASE_S": str(LEASE_S),
    "GATEWAY_LEASE_RENEW_S": "0.5",
    "GATEWAY_TAKEOVER_S": str(TAKEOVER_S),
}
"""A quarter of the real ones."""
COUNTS: Final = "for n in $(seq 1 40); do echo $n; sleep 0.1; done"
COUNTED: Final = "".join(f"{n}\n" for n in range(1, 41))


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """What the instances are joined by."""
    with redis_server() as server:
        yield server


@pytest.fixture
def one_file(redis: RedisServer) -> Mapping[str, str]:
    """What makes instances share a SQLite file, each for a short lease."""
    return {"EVENT_BUS_BACKEND": "redis", "REDIS_URL": redis.url, **TIMES}


@pytest.fixture
def one_database(one_file: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The same on PostgreSQL."""
    with postgres_server(QUICK) as server:
        yield {
            **one_file,
            "STATE_PERSISTENCE_BACKEND": "postgresql",
            "STATE_DATABASE_URL": server.dsn(),
        }


class Pair:
    """Two instances with a sandbox each, and a client of each; `owner` runs the task, `heir` does not."""

    def __init__(self, instances: list[tuple[GatewayProcess, Client]]) -> None:
        self.instances = instances
        self.owner, self.owners_client = instances[0]
        self.heir, self.client = instances[1]

    async def begin(self) -> str:
        """A task that has begun to print; the heir's client follows it."""
        task_id: str = (
            await self.client.ask("submit_task", mode="background", input={"commands": [COUNTS]})
        )["task"]["task_id"]
        await eventually(lambda: self._runs(task_id), within_s=30)
        instance = (await self.client.ask("get_task", task_id=task_id))["task"]["instance"]
        if self.client.welcome["instance"] == instance:
            self.owner, self.owners_client, self.heir, self.client = (
                self.heir,
                self.client,
                self.owner,
                self.owners_client,
            )
        await self.client.ask("subscribe", task_id=task_id)
        await self.client.until_event(task_id, "output")
        return task_id

    async def _runs(self, task_id: str) -> bool:
        return bool((await self.client.ask("get_task", task_id=task_id))["task"]["status"] == "running")

    async def until_taken_over(self, task_id: str) -> float:
        """Return once the next attempt runs; how long that took."""
        began = time.monotonic()
        await self.client.until_event(task_id, "status", status="running", attempt=2)
        return time.monotonic() - began

    async def living(self) -> set[str]:
        """The instances that the heir tells of."""
        items = (await self.client.ask("watch", topic="instances"))["items"]
        return {item["instance"] for item in items}


@asynccontextmanager
async def pair(folder: Path, env: Mapping[str, str]) -> AsyncIterator[Pair]:
    """Both, ready."""
    async with AsyncExitStack() as held:
        made = []
        for name in ("one", "two"):
            data_dir = folder / (name if "STATE_DATABASE_URL" in env else "shared")
            gateway = await held.enter_async_context(running_gateway(data_dir, env=env))
            made.append((gateway, await held.enter_async_context(client(gateway.socket_url))))
        yield Pair(made)


def statuses(events: list[dict[str, Any]]) -> list[tuple[str, int, str | None]]:
    """What the log says of the task's way."""
    return [
        (e["data"]["status"], e["data"]["attempt"], e["data"].get("reason"))
        for e in events
        if e["event"] == "status"
    ]


def check_log(me: Client, task_id: str, reason: str) -> None:
    """Two attempts, the first lost for `reason`; the second printed all of it, in one log without a gap."""
    check_all([me.frames[task_id]])
    events = me.events[task_id]
    assert statuses(events) == [
        ("pending", 0, None),
        ("running", 1, None),
        ("pending", 1, reason),
        ("running", 2, None),
        ("completed", 2, None),
    ]
    again = next(i for i, e in enumerate(events) if e["data"].get("attempt") == 2)
    assert output_of(events[again:]) == COUNTED


async def notes_at(gateway: GatewayProcess, me: Client) -> list[dict[str, Any]]:
    """What a gateway tells of a client's session."""
    async with aiohttp.ClientSession(gateway.url) as http:
        reply = await http.get(f"/v1/sessions/{me.welcome['session_id']}/explain")
        notes: list[dict[str, Any]] = (await reply.json())["notes"]
        return notes


async def check_explained(two: Pair, task_id: str) -> None:
    """The heir tells who had the task, and that the owner's client went with it."""
    async with aiohttp.ClientSession(two.heir.url) as http:
        spans = (await (await http.get(f"/v1/tasks/{task_id}/explain")).json())["spans"]
    notes = await notes_at(two.heir, two.owners_client)
    owner, heir = two.owners_client.welcome["instance"], two.client.welcome["instance"]
    assert [span["instance"] for span in spans if span["what"] == "claimed"] == [owner, heir]
    assert "reason instance_lost" in [span["note"] for span in spans if span["what"] == "queued"]
    assert [(note["what"], note["instance"]) for note in notes] == [("connected", owner), ("lost", owner)]
    seen = await metrics_of(two.heir)
    assert seen["gateway_takeover_seconds_count"] == 1
    assert 0 < seen["gateway_takeover_seconds_sum"] < 10
    assert seen["gateway_relay_lag_seconds_count"] > 1
    assert seen["gateway_probe_age_seconds"] < 5


async def test_killed_owners_task_runs_elsewhere(tmp_path: Path, one_file: Mapping[str, str]) -> None:
    """Not before its lease is over, and soon after that; then nobody tells of it any more."""
    async with pair(tmp_path, one_file) as two:
        task_id = await two.begin()
        await notes_at(two.owner, two.owners_client)  # what is told is kept
        await two.owner.kill()
        took_s = await two.until_taken_over(task_id)
        assert took_s > LEASE_S - 0.5
        assert took_s < TAKEOVER_S + 10
        await two.client.until_ended(task_id)
        check_log(two.client, task_id, "instance_lost")
        assert await two.living() == {two.client.welcome["instance"]}
        await check_explained(two, task_id)


async def test_zombie_writes_nothing_and_stops_what_it_ran(
    tmp_path: Path, one_database: Mapping[str, str]
) -> None:
    """Frozen beyond its lease and woken: no event is its own, its session ends, and it serves on."""
    async with pair(tmp_path, one_database) as two:
        task_id = await two.begin()
        os.kill(two.owner.pid, signal.SIGSTOP)
        try:
            await two.until_taken_over(task_id)
        finally:
            os.kill(two.owner.pid, signal.SIGCONT)
        await two.client.until_ended(task_id)
        check_log(two.client, task_id, "instance_lost")
        async with aiohttp.ClientSession(two.heir.url) as http:
            told = (await (await http.get(f"/v1/tasks/{task_id}/explain")).json())["spans"]
        lost = [span["instance"] for span in told if span["what"] == "lease lost"]
        assert lost == [two.owners_client.welcome["instance"]]
        await two.owners_client.ask("subscribe", task_id=task_id)
        await two.owners_client.until_ended(task_id)
        assert two.owners_client.frames[task_id] == two.client.frames[task_id]

        async def idle() -> bool:
            items = (await two.client.ask("watch", topic="sandboxes"))["items"]
            return len(items) == 2 and all(item["active"] == 0 for item in items)

        await eventually(idle, within_s=20)


async def test_drained_owners_task_runs_elsewhere_at_once(tmp_path: Path, redis: RedisServer) -> None:
    """Without waiting for any lease, and without counting."""
    env = {"EVENT_BUS_BACKEND": "redis", "REDIS_URL": redis.url, "GATEWAY_DRAIN_S": "0.5"}
    async with pair(tmp_path, env) as two:
        task_id = await two.begin()
        two.owner.process.send_signal(signal.SIGTERM)
        assert await two.until_taken_over(task_id) < 9
        await two.client.until_ended(task_id)
        check_log(two.client, task_id, "drain")
        assert await two.owner.process.wait() == 0


async def test_worker_runs_what_gateways_take(tmp_path: Path, redis: RedisServer) -> None:
    """A gateway without a sandbox has its tasks run by the worker; clients find nothing at the worker."""
    env = {"EVENT_BUS_BACKEND": "redis", "REDIS_URL": redis.url}
    async with (
        running_gateway(tmp_path / "shared", "--no-local-sandbox", env=env) as gateway,
        running_gateway(tmp_path / "shared", env=env, role="worker") as worker,
        aiohttp.ClientSession() as http,
    ):
        for path, expected in {
            "/livez": 200,
            "/readyz": 200,
            "/metrics": 200,
            "/ws": 404,
            "/v1/tasks": 404,
        }.items():
            async with http.get(worker.url + path) as answer:
                assert (path, answer.status) == (path, expected)
        async with client(gateway.socket_url) as me:
            task = (await me.ask("submit_task", mode="blocking", input={"commands": ["echo here"]}))["task"]
            assert task["result"]["commands"][0]["stdout"] == "here\n"

            async def sees_both() -> bool:
                items = (await me.ask("watch", topic="instances"))["items"]
                return sorted(item["role"] for item in items) == ["gateway", "worker"]

            # Who has just come is seen by the others within a second.
            await eventually(sees_both)


async def test_agent_that_only_another_has_is_everybodys(tmp_path: Path, one_file: Mapping[str, str]) -> None:
    """It is listed where it is not, its input is refused there, and its task is run, answered and ended from there."""
    has = {**one_file, "GATEWAY_AGENTS": "gardener=tests.support.own_agents:Gardener"}
    folder = tmp_path / "shared"
    async with AsyncExitStack() as held:
        lacking = await held.enter_async_context(running_gateway(folder, "--no-local-sandbox", env=one_file))
        having = await held.enter_async_context(running_gateway(folder, env=has))
        listed = {}
        for gateway in (having, lacking):

            async def names_it(url: str = gateway.url) -> bool:
                told = json.loads(await read(f"{url}/v1/agents"))["agents"]
                listed[url] = {one["name"]: one["input_schema"] for one in told}
                return "gardener" in listed[url]

            await eventually(names_it)
        assert listed[lacking.url] == listed[having.url]
        me = await held.enter_async_context(client(lacking.socket_url))
        assert "gardener" in me.welcome["agents"]
        refused = await me.ask("submit_task", agent="gardener", input={"task": "dig", "rows": 10})
        assert (refused["code"], refused["details"]["errors"][0]["loc"]) == ("bad_frame", ["input", "rows"])
        task_id = await me.submit(agent="gardener", input={"task": "dig", "rows": 2})
        await me.until_event(task_id, "input_requested")
        await me.ask("send_input", task_id=task_id, key="plant", data={"plant": "rose"})
        assert (await me.until_ended(task_id))[-1]["data"]["status"] == "completed"
        check_all([me.frames[task_id]])
