"""A task that is shown to somebody by a token of the gateway's own making."""

import time
from typing import Any

import jwt
import pytest

from tests.support.gateway import GatewayProcess
from tests.support.http_calls import SECRET, Reply, as_client, bearer, call, refused, session

pytestmark = pytest.mark.journey


async def share(gateway: GatewayProcess, task_id: str, headers: dict[str, str], **body: Any) -> Reply:
    """What the gateway answers to whoever wants to show the task."""
    async with session(gateway, headers) as http:
        return await call(http, "POST", f"/v1/tasks/{task_id}/share", json=body)


async def test_shared_task_is_read_and_not_steered(guarded: GatewayProcess) -> None:
    """The token shows its task with events and files, and no other; it steers nothing, and shares nothing on."""
    async with as_client(guarded, "nina") as owner:
        task_id, hidden = await owner.submit("echo shown"), await owner.submit("echo hidden")
        await owner.until_ended(task_id)
    made = await share(guarded, task_id, bearer("nina"))
    assert (made.status, made.headers["Cache-Control"]) == (201, "no-store")
    guest = {"Authorization": f"Bearer {made.body['token']}"}
    async with session(guarded, guest) as http:
        assert (await call(http, "GET", f"/v1/tasks/{task_id}")).body["task"]["task_id"] == task_id
        assert b"shown" in (await call(http, "GET", f"/v1/tasks/{task_id}/events")).text
        refused(await call(http, "GET", f"/v1/tasks/{hidden}"), 404, "task_not_found")
        refused(await call(http, "POST", f"/v1/tasks/{task_id}/cancel"), 403, "forbidden")
        who = (await call(http, "GET", "/v1/whoami")).body
        assert (who["subject"], who["scopes"], who["share_max_s"]) == ("nina", ["tasks:read"], None)
    refused(await share(guarded, task_id, guest), 403, "forbidden")


async def test_link_lives_as_long_as_is_wished_allowed_and_owned(guarded: GatewayProcess) -> None:
    """Its end is the asked one, at most the gateway's bound, and never after the end of the asker's own token."""
    async with as_client(guarded, "otto") as owner:
        task_id = await owner.submit("true")
    soon = int(time.time()) + 1_000

    async def lives_s(wished_s: int, **claims: Any) -> float:
        made = (await share(guarded, task_id, bearer("otto", **claims), expires_in_s=wished_s)).body
        told: dict[str, Any] = jwt.decode(made["token"], SECRET, algorithms=["HS256"])
        assert (told["tasks"], told["jti"]) == ([task_id], made["token_id"])
        return float(told["exp"] - told["iat"])

    assert await lives_s(3_600) == 3_600
    assert await lives_s(31_536_000) == 604_800
    assert await lives_s(3_600, exp=soon) <= 1_000
    refused(await share(guarded, task_id, bearer("otto"), expires_in_s=59), 422, "bad_frame")


async def test_who_may_not_read_a_task_may_not_show_it(guarded: GatewayProcess) -> None:
    """Another's task does not exist; an admin's link to it stands for its owner, and so ends with them, and with
    whoever made it."""
    async with as_client(guarded, "pia") as owner:
        task_id = await owner.submit("true")
    refused(await share(guarded, task_id, bearer("quirin")), 404, "task_not_found")
    refused(await share(guarded, task_id, bearer("pia", "tasks:write")), 403, "forbidden")
    by_admin = (await share(guarded, task_id, bearer("root", "admin"))).body["token"]
    told = jwt.decode(by_admin, SECRET, algorithms=["HS256"])
    assert (told["sub"], told["scope"]) == ("pia", "tasks:read")
    assert told["ends_with"] == ["sub root"]
    by_a_token = (await share(guarded, task_id, bearer("pia", jti="stolen"))).body["token"]
    told = jwt.decode(by_a_token, SECRET, algorithms=["HS256"])
    assert told["ends_with"] == ["sub pia", "jti stolen"]


async def test_gateway_without_a_secret_makes_no_link(gateway: GatewayProcess) -> None:
    """Where nothing is signed there is nothing to give away, and `whoami` says so before anybody asks."""
    async with session(gateway) as http:
        task_id = (await call(http, "POST", "/v1/tasks", json={})).body["task"]["task_id"]
        assert (await call(http, "GET", "/v1/whoami")).body["share_max_s"] is None
        refused(await call(http, "POST", f"/v1/tasks/{task_id}/share"), 409, "invalid_state")
