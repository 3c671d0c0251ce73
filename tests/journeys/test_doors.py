"""Every door of the gateway, by a stranger's hand: each route that is served, each request of the socket.

The routes are those of `/openapi.json`, which a test holds to what is served, the requests those of `frames.Request`;
a new one fails here until it is said what opens it.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, get_args

import jwt
import pytest
from websockets.exceptions import InvalidStatus

from gateway import frames
from gateway.principal import SCOPES
from tests.support.gateway import Client, GatewayProcess, client
from tests.support.http_calls import BOTH, SECRET, Reply, as_client, bearer, call, refused, session, token

pytestmark = pytest.mark.journey

NOBODYS: Final = "01900000-0000-7000-8000-000000000000"
FIELDS: Final[dict[str, Any]] = {
    "id": "1", "data": "x", "cols": 80, "rows": 24, "topic": "tasks", "token": token("mallory")
}  # fmt: skip
"""What a request must say, beside whose it is."""
NEEDS: Final = {
    "tasks:write": {
        *("submit_task", "cancel_task", "pause_task", "resume_task", "send_input", "resize", "delete_task"),
        "recover_workflow",
    },
    "tasks:read": {
        *("subscribe", "unsubscribe", "get_task", "list_tasks", "watch"),
        *("get_workflow", "list_workflows", "list_checkpoints"),
    },
    "": {"unwatch", "authenticate", "ping"},
}
"""Which scope opens which request of the socket."""
TYPES: Final = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(frames.Request)[0])
}
NARROW_MAY: Final = {"list_tasks", "list_agents", "whoami"}
"""What by HTTP is about no one task, and is answered to a token for named tasks all the same."""


class Victim(NamedTuple):
    """Whose things are tried: a task, one that a narrow token is for, and the first one's workflow and session."""

    task_id: str
    shared: str
    workflow_id: str
    session_id: str


@asynccontextmanager
async def victim(gateway: GatewayProcess) -> AsyncIterator[Victim]:
    """Somebody's tasks; at the end they are as they were."""
    async with as_client(gateway, "victim") as me:
        task_id, shared = [await me.submit("echo secret", mode="background") for _ in range(2)]
        for each in (task_id, shared):
            await me.ask("subscribe", task_id=each)
            await me.until_ended(each)
        before = await me.ask("get_task", task_id=task_id, include_input=True)
        task = before["task"]
        yield Victim(task_id, shared, task["workflow_id"], task["session_id"])
        assert await me.ask("get_task", task_id=task_id, include_input=True) == before
        workflow = (await me.ask("get_workflow", workflow_id=task["workflow_id"]))["workflow"]
        assert (workflow["status"], workflow["state_data"]) == ("completed", {})


# --- HTTP --------------------------------------------------------------------------------------------


class Door(NamedTuple):
    """An operation of `/openapi.json`: whom it lets in (None: everybody), and a body that it takes."""

    name: str
    method: str
    path: str
    scope: str | None
    is_open: bool
    body: dict[str, Any] | None

    def at(self, task_id: str, workflow_id: str, session_id: str = NOBODYS) -> str:
        """Its address for a task, a workflow or a session."""
        return self.path.format(task_id=task_id, workflow_id=workflow_id, session_id=session_id, path="made")


def doors(document: dict[str, Any]) -> Iterator[Door]:
    """All that there are."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            security = operation.get("security", [{"bearer": []}])
            scope = next(iter(security[0]["bearer"]), None) if security else None
            body = _body(document, operation["requestBody"]) if "requestBody" in operation else None
            yield Door(operation["operationId"], method.upper(), path, scope, not security, body)


def _body(document: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """The least body that fits; a field that must be there and has no sample here is a KeyError."""
    reference = described["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    return {name: FIELDS[name] for name in schema.get("required", [])}


async def knock(gateway: GatewayProcess, door: Door, headers: dict[str, str], where: str) -> Reply:
    """What it answers to a request that fits it."""
    async with session(gateway, headers) as http:
        return await call(http, door.method, where, **({"json": door.body} if door.body is not None else {}))


async def all_doors(gateway: GatewayProcess) -> list[Door]:
    """As the gateway describes them."""
    async with session(gateway) as http:
        return list(doors((await call(http, "GET", "/openapi.json")).body))


def bad_tokens() -> dict[str, str | None]:
    """None of them opens anything."""
    head, body, mac = token().split(".")
    return {
        "none": None,
        "expired": token(exp=int(time.time()) - 10),
        "not yet": token(nbf=int(time.time()) + 600),
        "another secret": token(secret="z" * 32),
        "unsigned": jwt.encode({"sub": "victim", "scope": "admin"}, "", algorithm="none"),
        "signature cut": f"{head}.{body}.",
        "another's claims": f"{head}.{token('victim', 'admin').split('.')[1]}.{mac}",
        "no subject": jwt.encode({"scope": "admin"}, SECRET, "HS256"),
        "rubbish": "x",
    }


async def test_no_door_opens_without_a_good_token(guarded: GatewayProcess) -> None:
    """Each route is 401, with the same answer whatever the token, or is one of the few that are open to all."""
    opened = set()
    for door in await all_doors(guarded):
        where = door.at(NOBODYS, NOBODYS)
        if door.is_open:
            opened.add(door.name)
            assert (await knock(guarded, door, {}, where)).status == 200
            continue
        for why, bad in bad_tokens().items():
            headers = {} if bad is None else {"Authorization": f"Bearer {bad}"}
            refused(await knock(guarded, door, headers, where), 401, "unauthorized"), why
        for elsewhere in (f"{where}?token={token()}", f"{where}?access_token={token()}"):
            refused(
                await knock(guarded, door, {"Cookie": f"token={token()}"}, elsewhere), 401, "unauthorized"
            )
    assert opened == {"livez", "readyz", "openapi", "asyncapi"}


async def test_each_route_needs_its_scope(guarded: GatewayProcess) -> None:
    """Every other scope together does not open it; those of sandboxes open nothing here."""
    for door in await all_doors(guarded):
        if door.scope is not None:
            others = " ".join(SCOPES - {door.scope, "admin"})
            reply = await knock(guarded, door, bearer("victim", others), door.at(NOBODYS, NOBODYS))
            refused(reply, 403, "forbidden")


async def test_what_is_anothers_is_as_if_it_were_not(guarded: GatewayProcess) -> None:
    """By each route: the answer for another's task or workflow is, to the byte, that for one that nobody has."""
    async with victim(guarded) as his:
        for door in await all_doors(guarded):
            if "{" not in door.path:
                continue
            if "{session_id}" in door.path:  # of which nobody is told whether it is there
                theirs = await knock(guarded, door, bearer("mallory"), door.at("", "", his.session_id))
                assert theirs.body == {"session_id": his.session_id, "notes": [], "tasks": []}
                continue
            theirs = await knock(guarded, door, bearer("mallory"), door.at(his.task_id, his.workflow_id))
            nobodys = await knock(guarded, door, bearer("mallory"), door.at(NOBODYS, NOBODYS))
            refused(theirs, 404, f"{'task' if 'task_id' in door.path else 'workflow'}_not_found")
            assert (theirs.status, theirs.text) == (nobodys.status, nobodys.text)
        async with session(guarded, bearer("mallory")) as http:
            for where in (f"workflow_id={his.workflow_id}", f"session_id={his.session_id}"):
                assert (await call(http, "GET", f"/v1/tasks?{where}")).body["tasks"] == []
            found = await call(http, "GET", f"/v1/workflows?session_id={his.session_id}")
            assert found.body["workflows"] == []
            beside = await call(http, "POST", "/v1/tasks", json={"workflow_id": his.workflow_id})
            refused(beside, 404, "workflow_not_found")


async def test_narrow_token_opens_its_tasks_alone(guarded: GatewayProcess) -> None:
    """By each route: its owner's other tasks do not exist for it, and all that is wider is forbidden."""
    async with victim(guarded) as his:
        narrow = bearer("victim", BOTH + " sandbox sandbox:server", tasks=[his.shared])
        for door in await all_doors(guarded):
            if door.is_open or door.scope == "admin":
                continue
            reply = await knock(guarded, door, narrow, door.at(his.task_id, his.workflow_id))
            if "{task_id}" in door.path:
                refused(reply, 404, "task_not_found")
            elif door.name not in NARROW_MAY:
                refused(reply, 403, "forbidden")
            else:
                assert reply.status == 200
                assert his.task_id.encode() not in reply.text
        async with session(guarded, narrow) as http:
            shown = (await call(http, "GET", f"/v1/tasks/{his.shared}?include_input=true")).body["task"]
            assert (shown["session_id"], "input" in shown) == (None, False)
            assert his.session_id.encode() not in (await call(http, "GET", "/v1/tasks")).text


# --- the sockets -------------------------------------------------------------------------------------


async def ask(me: Client, kind: str, task_id: str, workflow_id: str) -> dict[str, Any]:
    """The answer to the least request of that type, about one of these."""
    given = FIELDS | {"type": kind, "task_id": task_id, "workflow_id": workflow_id}
    needed = [name for name, field in TYPES[kind].model_fields.items() if field.is_required()]
    return await me.ask(kind, **{name: given[name] for name in needed if name not in {"type", "id"}})


def test_what_opens_each_request_is_written_down() -> None:
    """A request that is not in the table is one that nobody has thought of."""
    told = [kind for kinds in NEEDS.values() for kind in kinds]
    assert sorted(told) == sorted(TYPES)


@pytest.mark.parametrize("path", ["/ws", "/sandbox"])
async def test_no_socket_opens_without_a_good_token(guarded: GatewayProcess, path: str) -> None:
    """401 before any frame; 403 to a token whose scopes are for something else."""
    url = guarded.socket_url.replace("/ws", path)
    for why, bad in bad_tokens().items():
        headers = {} if bad is None else {"Authorization": f"Bearer {bad}"}
        assert await handshake(url, headers) == 401, why
        if bad is not None:
            assert await handshake(url, {}, f"bearer.{bad}") == 401, why
    others = SCOPES - {"admin"} - ({"tasks:read", "tasks:write"} if path == "/ws" else {"sandbox"})
    assert await handshake(url, bearer(scope=" ".join(others))) == 403
    assert (
        await handshake(f"{url}?token={token()}&access_token={token()}", {"Cookie": f"token={token()}"})
        == 401
    )
    if path == "/sandbox":
        assert await handshake(url, bearer(scope="sandbox", tasks=["t"])) == 403


async def handshake(url: str, headers: dict[str, str], *more: str) -> int:
    """The status by which it is refused."""
    with pytest.raises(InvalidStatus) as caught:
        await client(url, additional_headers=headers, subprotocols=["gateway.v1", *more]).__aenter__()
    return caught.value.response.status_code


async def test_each_request_needs_its_scope(guarded: GatewayProcess) -> None:
    """Every other scope together does not do."""
    for scope in ("tasks:read", "tasks:write"):
        async with as_client(guarded, "victim", " ".join(SCOPES - {scope, "admin"})) as me:
            for kind in NEEDS[scope]:
                assert (await ask(me, kind, NOBODYS, NOBODYS)).get("code") == "forbidden", kind
    async with as_client(guarded, "victim") as me:
        assert (await me.ask("watch", topic="instances"))["code"] == "forbidden"


async def test_request_about_anothers_is_as_if_that_were_not(guarded: GatewayProcess) -> None:
    """By each request of the socket: the same words for another's as for nobody's; no token makes one somebody else."""
    async with victim(guarded) as his, as_client(guarded, "eve") as me:
        for kind, model in TYPES.items():
            named = {"task_id", "workflow_id"} & {n for n, f in model.model_fields.items() if f.is_required()}
            theirs = await ask(me, kind, his.task_id, his.workflow_id)
            if named:
                nobodys = await ask(me, kind, NOBODYS, NOBODYS)
                assert theirs["code"] == f"{named.pop().removesuffix('_id')}_not_found", kind
                assert (theirs["message"], theirs.get("details")) == (
                    nobodys["message"],
                    nobodys.get("details"),
                )
        assert (await me.ask("authenticate", token=token("victim", "admin")))["code"] == "forbidden"
        assert (await me.ask("submit_task", workflow_id=his.workflow_id))["code"] == "workflow_not_found"
        for where in ("workflow_id", "session_id"):
            assert (await me.ask("list_tasks", **{where: getattr(his, where)}))["tasks"] == []
        url = f"{guarded.socket_url}?session_id={his.session_id}"
        async with client(url, additional_headers=bearer("eve")) as again:
            assert again.welcome["session_id"] != his.session_id
        assert not any(his.task_id in str(update) for update in me.updates)


async def test_narrow_token_asks_about_its_tasks_alone(guarded: GatewayProcess) -> None:
    """By each request of the socket; and it gets no session of its owner's."""
    forbidden = {
        "submit_task",
        "watch",
        *(kind for kind in TYPES if "workflow" in kind or "checkpoint" in kind),
    }
    async with victim(guarded) as his:
        narrow = bearer("victim", tasks=[his.shared])
        url = f"{guarded.socket_url}?session_id={his.session_id}"
        async with client(url, additional_headers=narrow) as me:
            assert me.welcome["session_id"] != his.session_id
            told = {
                kind: (await ask(me, kind, his.task_id, his.workflow_id)).get("code")
                for kind, model in TYPES.items()
                if kind in forbidden or "task_id" in model.model_fields
            }
            assert told == {kind: "forbidden" if kind in forbidden else "task_not_found" for kind in told}
            assert [each["task_id"] for each in (await me.ask("list_tasks"))["tasks"]] == [his.shared]
