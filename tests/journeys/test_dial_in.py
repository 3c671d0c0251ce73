"""Sandboxes that dial in to a real gateway by `sandbox-bridge join`, and whose tasks they get."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import jwt
import pytest
import pytest_asyncio

from tests.support.gateway import Client, GatewayProcess, client, output_of, running_gateway
from tests.support.sandbox_process import joined

pytestmark = pytest.mark.journey

SECRET = "a secret of more than thirty-two bytes"  # noqa: S105 - this test's own
ASKING = {"commands": ["echo here"], "sandbox": {"runtime": "local"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway without a sandbox of its own."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET}
    data = tmp_path_factory.mktemp("empty") / "data"
    async with running_gateway(data, "--no-local-sandbox", env=env) as made:
        yield made


def token(sub: str, scope: str = "tasks:read tasks:write") -> str:
    """A token of `sub`."""
    return jwt.encode({"sub": sub, "scope": scope}, SECRET, "HS256")


def client_of(gateway: GatewayProcess, sub: str) -> AbstractAsyncContextManager[Client]:
    """A client that is `sub`."""
    return client(gateway.socket_url, additional_headers={"Authorization": f"Bearer {token(sub)}"})


async def status_of(me: Client, task_id: str) -> str:
    """What a task's row says."""
    return str((await me.ask("get_task", task_id=task_id))["task"]["status"])


async def test_clients_sandbox_is_for_its_own_tasks_that_ask(empty: GatewayProcess) -> None:
    """Another's task, or one that does not ask, is not given to it, though it has room."""
    async with client_of(empty, "alice") as alice, client_of(empty, "bob") as bob:
        bobs = await bob.submit(input=ASKING)
        plain = await alice.submit("echo never")
        own = await alice.submit(input=ASKING)
        async with joined(empty.url, token("alice", "sandbox")):
            events = await alice.until_ended(own)
            assert output_of(events) == "here\n"
            again = await alice.submit(input=ASKING)
            await alice.until_ended(again)
            assert [await status_of(bob, bobs), await status_of(alice, plain)] == ["pending", "pending"]
        for me, task_id in ((bob, bobs), (alice, plain)):
            await me.ask("cancel_task", task_id=task_id)
            await me.until_ended(task_id)


async def test_trusted_sandbox_is_for_everybody(empty: GatewayProcess) -> None:
    """With `sandbox:server` it is one of the operator's."""
    async with joined(empty.url, token("fleet", "sandbox sandbox:server")), client_of(empty, "bob") as bob:
        task_id = await bob.submit("echo fine")
        assert output_of(await bob.until_ended(task_id)) == "fine\n"


async def test_token_without_the_scope_is_told(empty: GatewayProcess) -> None:
    """The process ends, and says which scope it lacks."""
    async with joined(empty.url, token("alice")) as process:
        async with asyncio.timeout(20):
            assert await process.wait() == 4
