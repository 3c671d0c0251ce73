"""The sandboxes of a gateway, as people see them."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.support.gateway import GatewayProcess, client, running_gateway

pytestmark = pytest.mark.journey

SECRET = "a secret of more than thirty-two bytes"  # noqa: S105 - this test's own


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway that wants tokens."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET}
    async with running_gateway(tmp_path_factory.mktemp("guarded") / "data", env=env) as made:
        yield made


def bearer(sub: str = "alice", scope: str = "tasks:read tasks:write", **claims: object) -> dict[str, str]:
    """The header that says who asks."""
    return {"Authorization": f"Bearer {jwt.encode({'sub': sub, 'scope': scope, **claims}, SECRET, 'HS256')}"}


async def test_sandboxes_are_listed_and_watched(gateway: GatewayProcess) -> None:
    """The gateway's own, with what it can do and how busy it is."""
    async with ClientSession(gateway.url) as http, http.get("/v1/sandboxes") as answer:
        (sandbox,) = (await answer.json())["sandboxes"]
    assert (sandbox["connected"], sandbox["trust"], sandbox["problem"]) == (True, "server", None)
    assert (sandbox["runtime"], sandbox["isolation"]["tier"]) == ("local", "bwrap")
    async with client(gateway.socket_url) as me:
        assert (await me.ask("watch", topic="sandboxes"))["items"][0]["sandbox_id"] == sandbox["sandbox_id"]
        await me.submit("sleep 0.5")
        while not any(update["item"]["active"] == 1 for update in me.updates):
            await me.read()
        while me.updates[-1]["item"]["active"]:
            await me.read()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (bearer(scope="sandbox"), 403),
        (bearer(tasks=["t"]), 403),
        (bearer(), 200),
        (bearer("root", "admin"), 200),
    ],
)
async def test_operators_sandboxes_are_for_admins(
    guarded: GatewayProcess, headers: dict[str, str], status: int
) -> None:
    """Whoever may read tasks sees its own; those of the gateway are shown to `admin`."""
    async with ClientSession(guarded.url) as http, http.get("/v1/sandboxes", headers=headers) as answer:
        assert answer.status == status
        if status == 200:
            shown = len((await answer.json())["sandboxes"])
            assert shown == ("admin" in jwt.decode(headers["Authorization"][7:], SECRET, ["HS256"])["scope"])


async def test_isolation_is_told_everywhere(gateway: GatewayProcess) -> None:
    """What holds a task is the same in `/readyz`, among the metrics and in the result of the task."""
    async with ClientSession(gateway.url) as http:
        async with http.get("/readyz") as answer:
            (sandbox,) = (await answer.json())["parts"]["sandbox"]["sandboxes"]
        async with http.get("/metrics") as answer:
            page = await answer.text()
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("true")
        result = (await me.until_ended(task_id))[-1]["data"]["result"]
    isolation = sandbox["isolation"]
    assert result["isolation"] == isolation
    assert isolation.items() >= {"tier": "bwrap", "seccomp": True, "network": False}.items()
    labels = ",".join(f'{name}="{isolation[name]}"' for name in ("freeze", "memory", "processes"))
    assert f'gateway_sandboxes{{{labels},seccomp="true",tier="bwrap"}} 1.0' in page


async def test_gateway_runs_tasks_without_a_jail_where_that_is_said_twice(tmp_path: Path) -> None:
    """`SANDBOX_ISOLATION=none` and `--unsafe-no-isolation` together: a task is then whoever runs the gateway."""
    env = {"SANDBOX_ISOLATION": "none"}
    async with (
        running_gateway(tmp_path / "data", "--unsafe-no-isolation", env=env) as gateway,
        client(gateway.socket_url) as me,
    ):
        task_id = await me.submit("id -u")
        result = (await me.until_ended(task_id))[-1]["data"]["result"]
    assert result["isolation"]["tier"] == "none"
    assert result["commands"][0]["stdout"] == f"{os.geteuid()}\n"
