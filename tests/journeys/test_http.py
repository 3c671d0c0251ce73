"""The service by HTTP, as scripts meet it."""

import asyncio
import io
import json
import uuid
from typing import Any, Final

import pytest

from tests.support.gateway import GatewayProcess, client
from tests.support.http_calls import (
    bearer,
    call,
    refused,
    session,
    stream,
    submitted,
)

pytestmark = pytest.mark.journey


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
        # All of it is taken: its sender has nothing left to say.
        large = io.BytesIO(b" " * ((32 << 20) + 1))
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
