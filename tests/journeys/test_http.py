"""The service by HTTP, and who may do what, as scripts and strangers meet it."""

import asyncio
import io
import itertools
import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

import jwt
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.gateway import Client, GatewayProcess, client, running_gateway

pytestmark = pytest.mark.journey

SECRET: Final = "the-secret-of-the-http-journeys-0"  # noqa: S105 - it guards nothing
BOTH: Final = "tasks:read tasks:write"
PROBLEM: Final = {"type", "title", "status", "detail", "code", "message", "retryable"}


class Reply(NamedTuple):
    """An answer by HTTP."""

    status: int
    kind: str
    headers: Mapping[str, str]
    text: bytes
    body: Any


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway that wants tokens, and answers a blocking submit after 1 s."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET, "GATEWAY_BLOCKING_HTTP_S": "1"}
    async with running_gateway(tmp_path_factory.mktemp("guarded") / "data", env=env) as gateway:
        yield gateway


def token(sub: str = "alice", scope: str = BOTH, secret: str = SECRET, **more: Any) -> str:
    """A signed token."""
    return jwt.encode({"sub": sub, "scope": scope, **more}, secret, algorithm="HS256")


def bearer(*args: Any, **claims: Any) -> dict[str, str]:
    """The header with such a token."""
    return {"Authorization": f"Bearer {token(*args, **claims)}"}


def as_client(gateway: GatewayProcess, *args: Any, **claims: Any) -> AbstractAsyncContextManager[Client]:
    """A client of the socket with such a token."""
    return client(gateway.socket_url, additional_headers=bearer(*args, **claims))


def session(gateway: GatewayProcess, headers: dict[str, str] | None = None) -> ClientSession:
    """An HTTP client of one gateway."""
    return ClientSession(gateway.url, headers=headers)


async def call(http: ClientSession, method: str, path: str, **options: Any) -> Reply:
    """One request and all of its answer."""
    async with http.request(method, path, **options) as response:
        text, kind = await response.read(), response.content_type
        body = json.loads(text) if text and kind.endswith("json") else None
        return Reply(response.status, kind, response.headers, text, body)


async def submitted(http: ClientSession, *commands: str, **fields: Any) -> dict[str, Any]:
    """A task made by HTTP."""
    reply = await call(http, "POST", "/v1/tasks", json={"input": {"commands": commands}, **fields})
    assert reply.status in {201, 202}, reply
    task: dict[str, Any] = reply.body["task"]
    return task


def refused(reply: Reply, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, held to its status and code."""
    body: dict[str, Any] = reply.body
    assert (reply.status, body["code"], body["status"]) == (status, code, status), body
    assert reply.kind == "application/problem+json"
    assert body.keys() - {"details"} == PROBLEM
    return body


async def stream(http: ClientSession, task_id: str, **headers: str) -> tuple[int, list[dict[str, str]]]:
    """Status and events of a server-sent stream, read to its end."""
    given = {"Accept": "text/event-stream"} | {key.replace("_", "-"): headers[key] for key in headers}
    reply = await call(http, "GET", f"/v1/tasks/{task_id}/events", headers=given)
    if reply.status != 200:
        return reply.status, []
    assert reply.kind == "text/event-stream"
    blocks = [block for block in reply.text.decode().split("\n\n") if block and not block.startswith(":")]
    return 200, [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


async def test_submit_is_created_where_its_location_says(gateway: GatewayProcess) -> None:
    """A submit is 201 with the new task and its Location; by default nobody waits for its end."""
    given = {"commands": ["echo hi"]}
    async with session(gateway) as http:
        made = await call(http, "POST", "/v1/tasks", json={"input": given})
        assert (made.status, made.body["replayed"]) == (201, False)
        found = await call(http, "GET", f"{made.headers['Location']}?include_input=true")
        assert found.body["task"]["task_id"] == made.body["task"]["task_id"]
        assert found.body["task"]["input"] == given


async def test_blocking_submit_that_takes_long_is_accepted(guarded: GatewayProcess) -> None:
    """A blocking submit waits for the end, GATEWAY_BLOCKING_HTTP_S at most: then it is 202, and the task runs on."""
    given = {"mode": "blocking", "input": {"commands": ["sleep 60"]}}
    async with session(guarded, bearer()) as http:
        assert (await submitted(http, "exit 3", mode="blocking"))["error"]["code"] == "command_failed"
        reply = await call(http, "POST", "/v1/tasks", json=given)
        task = reply.body["task"]
        assert (reply.status, task["ended_at"]) == (202, None)
        path = f"/v1/tasks/{task['task_id']}/cancel"
        assert (await call(http, "POST", path, json={"reason": "seen"})).body["task"]["desire"] == "cancel"
        _, events = await stream(http, task["task_id"])
        ended = json.loads(events[-1]["data"])["data"]
        assert (ended["status"], ended["reason"], ended["by"]) == ("cancelled", "seen", "alice")


async def test_idempotency_key_holds_among_many_at_once(gateway: GatewayProcess) -> None:
    """20 submits at once with one key make one task: 201 once, else 200; another body is 409."""
    key, body = uuid.uuid4().hex, {"input": {"commands": ["true"]}}
    async with session(gateway, {"Idempotency-Key": key}) as http:
        replies = await asyncio.gather(*(call(http, "POST", "/v1/tasks", json=body) for _ in range(20)))
        assert sorted(reply.status for reply in replies) == [200] * 19 + [201]
        tasks = {reply.body["task"]["task_id"] for reply in replies}
        other = await call(http, "POST", "/v1/tasks", json=body | {"priority": 1})
        refused(other, 409, "idempotency_conflict")
    async with client(gateway.socket_url) as me:
        replay = await me.ask("submit_task", idempotency_key=key, mode="background", **body)
        assert (replay["replayed"], {replay["task"]["task_id"]}) == (True, tasks)


BAD_BODIES: Final = {
    "empty": b"",
    "not JSON": b"{",
    "an array": b"[]",
    "another mode": b'{"mode":"x"}',
    "a string for a number": b'{"timeout_s":"5"}',
    "millions of commands": b'{"input":{"commands":[' + b"1," * 3_000_000 + b"1]}}",
    "very many keys": json.dumps({f"k{i}": 1 for i in range(100_000)}).encode(),
    "100 000 deep": b'{"input":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_bad_body_is_unprocessable(gateway: GatewayProcess, name: str) -> None:
    """What is no submit is 422 and says where, in few words, however much of it is wrong."""
    async with session(gateway, {"Content-Type": "application/json"}) as http:
        reply = await call(http, "POST", "/v1/tasks", data=io.BytesIO(BAD_BODIES[name]))
    for error in refused(reply, 422, "bad_frame")["details"]["errors"]:
        assert error.keys() == {"loc", "msg"}
    assert len(reply.text) < 10_000


async def test_body_is_json_of_a_bounded_size(gateway: GatewayProcess) -> None:
    """Anything but application/json as it is is 415; more than 32 MiB is 413."""
    async with session(gateway) as http:
        for kind in ("text/plain", "application/jsonx"):
            reply = await call(http, "POST", "/v1/tasks", data=b"{}", headers={"Content-Type": kind})
            assert (reply.status, reply.kind) == (415, "application/problem+json")
        json_type = {"Content-Type": "application/json; charset=utf-8"}
        large = io.BytesIO(b" " * (33 << 20))
        refused(await call(http, "POST", "/v1/tasks", data=large, headers=json_type), 413, "too_large")
        assert (await call(http, "POST", "/v1/tasks", data=b"{}", headers=json_type)).status == 201


async def test_input_larger_than_a_frame_goes_by_http(gateway: GatewayProcess) -> None:
    """12 MiB of files reach the jail; HTTP gives the input back whole, the socket says too_large."""
    files = {f"f{i}": "y" * (1 << 20) for i in range(12)}
    given = {"files": files, "commands": ["cat f* | wc -c"]}
    body = io.BytesIO(json.dumps({"input": given, "mode": "blocking"}).encode())
    async with session(gateway, {"Content-Type": "application/json"}) as http:
        task = (await call(http, "POST", "/v1/tasks", data=body)).body["task"]
        assert task["result"]["commands"][0]["stdout"].strip() == str(12 << 20)
        found = await call(http, "GET", f"/v1/tasks/{task['task_id']}?include_input=true")
        assert found.body["task"]["input"] == given
    async with client(gateway.socket_url) as me:
        answer = await me.ask("get_task", task_id=task["task_id"], include_input=True)
        assert answer["code"] == "too_large"


async def test_refusals_are_problem_documents(gateway: GatewayProcess) -> None:
    """Each error has its status and the socket's code."""
    async with session(gateway) as http:
        task = await submitted(http, mode="blocking")
        path = f"/v1/tasks/{task['task_id']}"
        for query in ("limit=0", "limit=501", "limit=x", "status=odd", "label=x", "cursor=odd", "odd=1"):
            refused(await call(http, "GET", f"/v1/tasks?{query}"), 422, "bad_frame")
        refused(await call(http, "GET", "/v1/tasks/none/events"), 404, "task_not_found")
        ended = refused(await call(http, "POST", f"{path}/cancel"), 409, "invalid_state")
        assert ended["details"] == {"status": "completed"}
        beyond = await call(http, "GET", f"{path}/events?after_seq={task['last_seq'] + 1}")
        refused(beyond, 410, "invalid_cursor")
        refused(await call(http, "POST", "/v1/tasks", json={"agent": "nobody"}), 422, "unknown_agent")
        beside = await call(http, "POST", "/v1/tasks", json={"workflow_id": str(uuid.uuid4())})
        refused(beside, 404, "workflow_not_found")


async def test_foreign_page_can_neither_read_nor_write(gateway: GatewayProcess) -> None:
    """A request with another site's Origin is 403, whatever it asks."""
    async with session(gateway, {"Origin": "https://evil.example"}) as http:
        refused(await call(http, "GET", "/v1/tasks"), 403, "forbidden")
        refused(await call(http, "POST", "/v1/tasks", json={}), 403, "forbidden")


async def test_list_is_paged_newest_first(gateway: GatewayProcess) -> None:
    """Pages join to all tasks of a label, each once, the newest first, without results."""
    query = {"label": f"of={uuid.uuid4().hex}", "limit": "3"}
    labels = dict([query["label"].split("=")])
    found: list[dict[str, Any]] = []
    async with session(gateway) as http:
        made = [(await submitted(http, labels=labels))["task_id"] for _ in range(7)]
        while query.get("cursor", "first"):
            page = (await call(http, "GET", "/v1/tasks", params=query)).body
            found += page["tasks"]
            query["cursor"] = page["cursor"] or ""
    assert [task["task_id"] for task in found] == made[::-1]
    assert not any("result" in task for task in found)


async def test_stream_is_the_log_as_it_grows(gateway: GatewayProcess) -> None:
    """A stream shows 1…n with the socket's own bytes and ends with the last event; it resumes, then is 204."""
    async with session(gateway) as http, client(gateway.socket_url) as me:
        task_id = await me.submit("echo one", "sleep 0.2", "echo two >&2")
        live, *others = await asyncio.gather(*(stream(http, task_id) for _ in range(10)))
        events = await me.until_ended(task_id)
        assert [item["data"] for item in live[1]] == me.frames[task_id]
        assert [int(item["id"]) for item in live[1]] == [event["seq"] for event in events]
        assert [item["event"] for item in live[1]] == [event["event"] for event in events]
        assert all(other == live for other in others)
        assert await stream(http, task_id, Last_Event_ID="2") == (200, live[1][2:])
        last = len(events)
        for given, status in ((str(last), 204), (str(last + 1), 410), ("x", 422)):
            assert await stream(http, task_id, Last_Event_ID=given) == (status, [])


async def test_events_are_paged(gateway: GatewayProcess) -> None:
    """A page holds what comes after `after_seq`, at most `limit`, says where it begins and where the log ends."""
    async with session(gateway) as http:
        task = await submitted(http, "echo 1", "echo 2", mode="blocking")
        path, last = f"/v1/tasks/{task['task_id']}/events", task["last_seq"]
        whole = (await call(http, "GET", path)).body["events"]
        assert [event["seq"] for event in whole] == list(range(1, last + 1))
        page = (await call(http, "GET", f"{path}?after_seq=2&limit=3")).body
        assert page == {"events": whole[2:5], "first_seq": 3, "last_seq": last}


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
    """Each request needs its scope, by HTTP and on the socket; `/metrics` needs admin."""
    async with session(guarded, bearer(scope="tasks:read")) as reader:
        refused(await call(reader, "POST", "/v1/tasks", json={}), 403, "forbidden")
        refused(await call(reader, "GET", "/metrics"), 403, "forbidden")
        assert (await call(reader, "GET", "/v1/tasks")).status == 200
    async with session(guarded, bearer(scope="tasks:write")) as writer:
        refused(await call(writer, "GET", "/v1/tasks"), 403, "forbidden")
    async with session(guarded, bearer(scope="admin")) as admin:
        assert (await call(admin, "GET", "/metrics")).kind == "text/plain"
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
    env = {"GATEWAY_REQUESTS_PER_S": "0.01", "GATEWAY_REQUEST_BURST": "5"}
    env |= {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET}
    async with (
        running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway,
        session(gateway, bearer("alice")) as http,
        session(gateway, bearer("bob")) as other,
        as_client(gateway, "alice") as me,
    ):
        replies = [await call(http, "GET", "/v1/tasks") for _ in range(6)]
        assert [reply.status for reply in replies] == [200] * 5 + [429]
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
