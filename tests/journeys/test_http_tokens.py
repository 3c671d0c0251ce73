"""Who may do what, and how much of it, as strangers and guests meet it."""

import itertools
import math
import time
from pathlib import Path

import jwt
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.http_calls import SECRET, as_client, bearer, call, refused, session, stream, token

pytestmark = pytest.mark.journey


async def test_stranger_is_told_nothing(guarded: GatewayProcess) -> None:
    """Without a good token all but the health checks is 401, before anything else is looked at."""
    unsigned = jwt.encode({"sub": "alice", "scope": "admin"}, "", algorithm="none")
    in_url = f"/v1/tasks?access_token={token()}"
    for bad in ("", "x", unsigned, token(secret="z" * 32), token(exp=int(time.time()) - 1), token("")):
        async with session(guarded, {"Authorization": f"Bearer {bad}"} if bad else None) as http:
            for path in (in_url, "/v1/tasks?odd=1", "/v1/tasks/x", "/v1/tasks/x/events", "/metrics"):
                reply = await call(http, "GET", path)
                refused(reply, 401, "unauthorized")
                assert reply.headers["WWW-Authenticate"].startswith("Bearer")
            refused(await call(http, "POST", "/v1/tasks", data=b"{"), 401, "unauthorized")
            assert [(await call(http, "GET", path)).status for path in ("/livez", "/readyz")] == [200, 200]


async def test_scope_is_needed(guarded: GatewayProcess) -> None:
    """Each request needs its scope, by HTTP and on the socket; `/metrics` needs admin, for more than named tasks."""
    async with session(guarded, bearer(scope="tasks:read")) as reader:
        refused(await call(reader, "POST", "/v1/tasks", json={}), 403, "forbidden")
        refused(await call(reader, "GET", "/metrics"), 403, "forbidden")
        assert (await call(reader, "GET", "/v1/tasks")).status == 200
    async with session(guarded, bearer(scope="tasks:write")) as writer:
        refused(await call(writer, "GET", "/v1/tasks"), 403, "forbidden")
    async with session(guarded, bearer(scope="admin")) as admin:
        assert (await call(admin, "GET", "/metrics")).kind == "text/plain"
    async with session(guarded, bearer(scope="admin", tasks=["t"])) as narrow:
        refused(await call(narrow, "GET", "/metrics"), 403, "forbidden")
    async with as_client(guarded, scope="tasks:read") as me:
        told = [await me.ask("submit_task"), await me.ask("cancel_task", task_id="x")]
    async with as_client(guarded, scope="tasks:write") as me:
        told += [await me.ask("get_task", task_id="x"), await me.ask("watch", topic="tasks")]
    assert [answer["code"] for answer in told] == ["forbidden"] * 4


async def test_task_of_another_does_not_exist(guarded: GatewayProcess) -> None:
    """Nothing tells one subject that another's task, workflow or key is there; an admin sees all."""
    async with as_client(guarded, "carol") as owner, as_client(guarded, "dave") as other:
        made = await owner.ask("submit_task", idempotency_key="k", input={"commands": ["sleep 60"]})
        task_id = made["task"]["task_id"]
        assert (await other.ask("watch", topic="tasks"))["items"] == []
        for kind in ("get_task", "subscribe", "unsubscribe", "cancel_task"):
            assert (await other.ask(kind, task_id=task_id))["code"] == "task_not_found"
        beside = await other.ask("submit_task", workflow_id=made["task"]["workflow_id"])
        assert beside["code"] == "workflow_not_found"
        assert not (await other.ask("submit_task", idempotency_key="k"))["replayed"]
        async with session(guarded, bearer("dave")) as http:
            refused(await call(http, "GET", f"/v1/tasks/{task_id}"), 404, "task_not_found")
            assert await stream(http, task_id) == (404, [])
        async with as_client(guarded, "root", "admin") as admin:
            assert (await admin.ask("cancel_task", task_id=task_id))["task"]["task_id"] == task_id
        ended = (await owner.until_ended(task_id))[-1]["data"]
        assert (ended["status"], ended["by"]) == ("cancelled", "root")
        assert all(update["item"]["subject"] == "dave" for update in other.updates)


async def test_token_for_one_task_shows_that_one(guarded: GatewayProcess) -> None:
    """A token with `tasks` sees these tasks alone, without input or session, and may start nothing."""
    async with as_client(guarded, "erin") as owner:
        shared, hidden = await owner.submit("echo shared"), await owner.submit("echo hidden")
        async with as_client(guarded, "erin", tasks=[shared]) as guest:
            task = (await guest.ask("get_task", task_id=shared, include_input=True))["task"]
            assert (task.get("session_id"), task.get("input")) == (None, None)
            assert [each["task_id"] for each in (await guest.ask("list_tasks"))["tasks"]] == [shared]
            for kind in ("get_task", "subscribe", "cancel_task"):
                assert (await guest.ask(kind, task_id=hidden))["code"] == "task_not_found"
            assert (await guest.ask("submit_task"))["code"] == "forbidden"
            assert (await guest.ask("watch", topic="tasks"))["code"] == "forbidden"
            await guest.ask("subscribe", task_id=shared)
            await guest.until_ended(shared)
        async with as_client(guarded, "frank", tasks=[shared]) as stranger:
            assert (await stranger.ask("get_task", task_id=shared))["code"] == "task_not_found"


async def test_requests_by_http_are_limited_for_a_subject(tmp_path: Path) -> None:
    """Beyond its burst a subject is told 429, and when to come again; its sockets and other subjects go on."""
    env = {"GATEWAY_REQUESTS_PER_S": "0.001", "GATEWAY_REQUEST_BURST": "1"}
    env |= {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET}
    async with (
        running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway,
        session(gateway, bearer("alice")) as http,
        session(gateway, bearer("bob")) as other,
        as_client(gateway, "alice") as me,
    ):
        replies = [await call(http, "GET", "/v1/tasks") for _ in range(11)]
        assert [reply.status for reply in replies] == [200] * 10 + [429]
        wait_ms = refused(replies[-1], 429, "rate_limited")["details"]["retry_after_ms"]
        assert 0 < wait_ms <= 100_000
        assert int(replies[-1].headers["Retry-After"]) == math.ceil(wait_ms / 1000)
        assert (await call(other, "GET", "/v1/tasks")).status == 200
        assert "time" in await me.ask("ping")


async def test_narrower_token_ends_what_it_does_not_allow(guarded: GatewayProcess) -> None:
    """After `authenticate` with less, neither events of other tasks nor list updates follow."""
    async with as_client(guarded, "grace") as me, as_client(guarded, "grace") as witness:
        shown = await me.submit("sleep 0.5; echo shown")
        hidden = await me.submit("echo begun; sleep 0.5; echo hidden")
        await witness.ask("subscribe", task_id=hidden)
        await me.ask("watch", topic="tasks")
        await me.until_event(hidden, "output")
        assert (await me.ask("authenticate", token=token("grace", tasks=[shown])))["subject"] == "grace"
        seen = len(me.events[hidden]), len(me.updates)
        await witness.until_ended(hidden)
        await me.until_ended(shown)
        assert (len(me.events[hidden]), len(me.updates)) == seen


async def close_code(me: Client) -> int:
    """The code that a connection is closed with; the goodbye before it says the same."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await me.read()
    said = me.goodbye or me.welcome
    assert closed.value.rcvd is not None
    assert (said["type"], said["code"], said["reconnect"]) == ("goodbye", closed.value.rcvd.code, False)
    return closed.value.rcvd.code


async def test_handshake_takes_a_token_by_header_or_subprotocol(guarded: GatewayProcess) -> None:
    """Browsers offer the token as a subprotocol, which is never selected; one in the URL counts for nothing."""
    async with as_client(guarded, exp=int(time.time()) + 600) as me:
        assert (me.welcome["subject"], me.welcome["expires_at"][-5:]) == ("alice", ".000Z")
    for offered in itertools.permutations(["gateway.v1", f"bearer.{token('heidi')}"]):
        async with client(guarded.socket_url, subprotocols=list(offered)) as me:
            assert (me.welcome["subject"], me.socket.subprotocol) == ("heidi", "gateway.v1")
    in_url = f"?token={token()}"
    for query, headers, status in (("", {}, 401), (in_url, {}, 401), ("", bearer(scope=""), 403)):
        with pytest.raises(InvalidStatus) as told:
            async with client(guarded.socket_url + query, additional_headers=headers):
                pass
        assert told.value.response.status_code == status


async def test_page_is_told_why_it_is_refused(guarded: GatewayProcess) -> None:
    """With an allowed Origin the refusal is a goodbye and a close code, since a page can't read a status."""
    for headers, code in (({}, 4401), (bearer(secret="z" * 32), 4401), (bearer(scope=""), 4403)):
        async with client(guarded.socket_url, origin=guarded.url, additional_headers=headers) as me:
            assert await close_code(me) == code


async def test_session_ends_with_its_token_unless_renewed(guarded: GatewayProcess) -> None:
    """Whoever renews in time stays; else 4401, and a stream ends too; only the same subject may renew."""
    soon = int(time.time()) + 3
    stays, goes = as_client(guarded, "ivan", exp=soon), as_client(guarded, "ivan", exp=soon)
    async with stays as me, goes as idle, session(guarded, bearer("ivan", exp=soon)) as http:
        for given, code in ((token("judy"), "forbidden"), ("a.b.c", "unauthorized")):
            assert (await me.ask("authenticate", token=given))["code"] == code
        renewed = await me.ask("authenticate", token=token("ivan"))
        assert renewed == {"subject": "ivan", "expires_at": None}
        task_id = await me.submit("sleep 60", mode="background")
        _, events = await stream(http, task_id)
        assert events[0]["event"] == "status"
        assert await close_code(idle) == 4401
        assert (await me.ask("cancel_task", task_id=task_id))["task"]["task_id"] == task_id


async def test_token_is_in_no_log(guarded: GatewayProcess) -> None:
    """Neither a token nor the secret reaches the log, also not by a request that can't be read."""
    async with session(guarded, bearer(pad="x" * 20_000)) as http:
        assert (await call(http, "GET", "/v1/tasks")).status == 400
    log = (guarded.data_dir.parent / "data.log").read_text()
    assert "client connected" in log
    assert "eyJ" not in log
    assert SECRET not in log
