"""docker-compose.yml without Docker: its services as processes, by their own commands and environment.

In place of a container's network, names become ports of loopback. Images, mounts and rights are not run.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt
import pytest
import yaml  # type: ignore[import-untyped]

from gateway.metrics import Metrics
from gateway.settings import Settings
from sandbox_bridge.settings import SandboxSettings
from tests.house.source import ROOT
from tests.support.documents import shown_names
from tests.support.fleet import balancer
from tests.support.gateway import Client, client, running_gateway
from tests.support.postgres import Server, free_port, postgres_server
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey

COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
ALERTS: Final[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text("utf-8"))
SCRAPED: Final[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text("utf-8"))
SECRET: Final = "0123456789abcdef0123456789abcdef"  # noqa: S105
OURS: Final = ("gateway-1", "gateway-2", "worker-1")


@pytest.fixture
def servers() -> Iterator[tuple[Server, RedisServer]]:
    """What the containers postgres and redis would be."""
    with postgres_server() as postgres, redis_server() as redis:
        yield postgres, redis


def environment(service: str, places: dict[str, str]) -> dict[str, str]:
    """A service's, with `places` in place of what only Docker knows."""
    given = json.dumps(COMPOSE["services"][service]["environment"])
    for there, here in places.items():
        given = given.replace(there, here)
    assert "${" not in given, f"{service} lacks a value"
    found: dict[str, str] = json.loads(given)
    return found


@asynccontextmanager
async def deployed(folder: Path, postgres: Server, redis: RedisServer) -> AsyncIterator[int]:
    """All of ours; the balancer's port."""
    ports = {name: free_port() for name in (*OURS, "balancer")}
    places = {
        "${GATEWAY_JWT_SECRET:?put it into .env}": SECRET,
        "${POSTGRES_PASSWORD:?put it into .env}": postgres.password,
        "@postgres:5432/gateway": f"@127.0.0.1:{postgres.port}/postgres",
        "${GATEWAY_ALLOWED_HOSTS:-localhost}": "localhost",
        "redis:6379": f"127.0.0.1:{redis.port}",
        ":8080": f":{ports['balancer']}",
    }
    at = {f"{name}:8080": f"127.0.0.1:{ports[name]}" for name in OURS}
    async with AsyncExitStack() as held:
        for name in OURS:
            role, *options = COMPOSE["services"][name]["command"]
            started = running_gateway(
                folder / name,
                *("--port", str(ports[name]), *options),
                env=environment(name, at | places),
                role=role,
            )
            await held.enter_async_context(started)
        env = environment("balancer", at | places)
        await held.enter_async_context(balancer(env, ports["balancer"], folder / "balancer.log"))
        yield ports["balancer"]


def token(*scopes: str) -> str:
    """One of the operator's."""
    return jwt.encode({"sub": "operator", "scope": " ".join(scopes)}, SECRET, "HS256")


async def test_compose_file_makes_a_fleet(tmp_path: Path, servers: tuple[Server, RedisServer]) -> None:
    """Who has a token submits at the balancer; the worker runs it; Prometheus reads what its alerts speak of."""
    async with deployed(tmp_path, *servers) as port:
        headers = {"Authorization": f"Bearer {token('tasks:read', 'tasks:write', 'admin')}"}
        async with client(f"ws://localhost:{port}/ws", additional_headers=headers) as me:
            task = (await me.ask("submit_task", mode="blocking", input={"commands": ["echo here"]}))["task"]
            assert task["result"]["commands"][0]["stdout"] == "here\n"
            # Who has just come is seen by the others within a second.
            await eventually(lambda: _roles_are(me, ["gateway", "gateway", "worker"]))
        async with aiohttp.ClientSession(f"http://localhost:{port}", headers=headers) as http:
            async with http.get("/metrics") as answer:
                text = await answer.text()
            assert 'gateway_part_ok{part="bus"} 1.0' in text
        async with aiohttp.ClientSession(f"http://localhost:{port}") as http, http.get("/metrics") as answer:
            assert answer.status == 401


async def _roles_are(me: Client, wanted: list[str]) -> bool:
    return sorted(item["role"] for item in (await me.ask("watch", topic="instances"))["items"]) == wanted


def test_compose_file_sets_what_there_is() -> None:
    """Each variable of ours is a setting; who is scraped is there; each of our services has an address of its own."""
    known = shown_names(Settings, "GATEWAY_") | shown_names(SandboxSettings, "SANDBOX_")
    for name in OURS:
        environment = COMPOSE["services"][name]["environment"]
        assert set(environment) <= known, name
        assert environment["GATEWAY_ADVERTISE_URL"] == f"http://{name}:8080"
    (job,) = SCRAPED["scrape_configs"]
    assert sorted(job["static_configs"][0]["targets"]) == sorted(f"{name}:8080" for name in OURS)
    assert SCRAPED["rule_files"] == ["alerts.yml"]


def test_alerts_speak_of_metrics_that_are_there() -> None:
    """Each metric in an alert is one of ours, each alert has words and a weight, and docs/operations.md tells of it."""
    ours = Metrics().render().decode()
    operations = (ROOT / "docs/operations.md").read_text("utf-8")
    (group,) = ALERTS["groups"]
    assert len(group["rules"]) == len({rule["alert"] for rule in group["rules"]})
    for rule in group["rules"]:
        for metric in re.findall(r"gateway_\w+", rule["expr"]):
            assert f"# TYPE {metric.removesuffix('_bucket')} " in ours, metric
        assert rule["labels"]["severity"] in {"page", "warning"}
        assert rule["annotations"]["summary"]
        assert f"| `{rule['alert']}` |" in operations, rule["alert"]
