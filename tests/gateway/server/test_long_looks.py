"""Lists, and whatever else takes long to look up: one at a time from each address."""

import asyncio
import io
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession, FormData, TCPConnector

from gateway.principal import ANONYMOUS
from gateway.server import app
from gateway.sessions.pace import Pace, in_turn
from gateway.sessions.quotas import Quotas
from gateway.settings import Settings
from gateway.tar import END, header
from gateway.token_bucket import MAX_PAUSE_S
from tests.support.gateway import client
from tests.support.http_calls import call
from tests.support.in_process import serving
from tests.support.waiting import let_pass

STRANGER: Final = ("127.0.0.2", 0)


async def test_address_has_one_look_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By socket and by HTTP, over however many connections, each waits for the former one of its address; what takes
    no time does not, and neither does anybody else's."""
    made: list[Quotas] = []

    def quotas_of(settings: Settings) -> Quotas:
        made.append(Quotas(settings))
        return made[0]

    monkeypatch.setattr(app, "Quotas", quotas_of)
    async with (
        serving(tmp_path / "data") as url,
        client(url.replace("http", "ws") + "/ws") as other,
        client(url.replace("http", "ws") + "/ws", local_addr=STRANGER) as me,
        ClientSession(url, connector=TCPConnector(local_addr=STRANGER, limit=20)) as http,
    ):
        task = (await me.ask("submit_task", mode="background"))["task"]
        paths = ["/v1/tasks", "/v1/workflows", f"/v1/workflows/{task['workflow_id']}/checkpoints"]
        paths += [
            f"/v1/tasks/{task['task_id']}{what}" for what in ("/events", "/explain", "?include_input=true")
        ]
        paths += [f"/v1/tasks/{task['task_id']}/{what}" for what in ("files", "files.tar")]
        paths += [f"/v1/workflows/{task['workflow_id']}"]
        paths += [f"/v1/sessions/{me.welcome['session_id']}/explain"]
        pace = made[0].pace(STRANGER[0], ANONYMOUS)
        async with in_turn(pace):
            sent = [await me.send(kind) for kind in ("list_tasks", "list_workflows")]
            asked = ("list_checkpoints", "get_workflow")
            sent += [await me.send(kind, workflow_id=task["workflow_id"]) for kind in asked]
            sent += [await me.send("get_task", task_id=task["task_id"], include_input=True)]
            sent += [await me.send("watch", topic="tasks")]
            assert "time" in await me.ask("ping")
            assert (await call(http, "GET", "/v1/whoami")).status == 200
            assert "tasks" in await other.ask("list_tasks")
            waiting = [asyncio.ensure_future(call(http, "GET", path)) for path in paths]
            read = asyncio.ensure_future(me.read())
            done, _ = await asyncio.wait([read, *waiting], timeout=0.3)
            assert not done
        await read
        assert [(await me.answer(one))["type"] for one in sent] == ["result"] * len(sent)
        assert {reply.status for reply in await asyncio.gather(*waiting)} == {200}


async def test_address_pays_for_the_members_of_an_archive(tmp_path: Path) -> None:
    """By the time that its headers take to look at: they are twenty times what their bytes cost."""
    now = asyncio.get_running_loop().time
    form = FormData()
    form.add_field("task", "{}")
    form.add_field("files", io.BytesIO(header("folder/", 0, mtime_s=0) * 3000 + END))
    async with (
        serving(tmp_path / "data", requests_per_s=40, request_burst=4) as url,
        ClientSession(url, connector=TCPConnector(local_addr=STRANGER)) as http,
    ):
        began = now()
        assert (await call(http, "POST", "/v1/tasks", data=form)).status == 201
        assert now() - began > 0.2


@pytest.mark.looptime
async def test_look_is_paid_by_its_time() -> None:
    """Beyond the burst a tenth of the time is looked up, and whoever looks next waits as long as that takes, or for a
    second; who has no pace does not wait."""
    now = asyncio.get_running_loop().time
    bucket, began = Pace(1000.0, 100, now), list[float]()

    async def look(takes_s: float) -> None:
        async with in_turn(bucket):
            began.append(now())
            await let_pass(takes_s)

    start = now()
    await asyncio.gather(*map(look, (0.01, 0.05, 5.0, 0.01)))
    assert [round(at - start, 2) for at in began] == [0.0, 0.01, 0.51, 5.51 + MAX_PAUSE_S]
    async with in_turn(None), in_turn(None):
        assert now() - start < 5.6 + MAX_PAUSE_S
