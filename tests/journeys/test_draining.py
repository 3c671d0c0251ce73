"""A gateway drains: it takes no more, lets end what ends in time, gives the rest back, and tells everybody."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.support.gateway import Client, GatewayProcess, client, ended_within, running_gateway
from tests.support.history import check_all
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey

CLIENTS = 120
ENV = {"GATEWAY_DRAIN_S": "4", "SANDBOX_MAX_SESSIONS": "2", "GATEWAY_MAX_RUNNING_PER_SUBJECT": "2"}


@contextlib.asynccontextmanager
async def crowd(gateway: GatewayProcess, task_ids: list[str]) -> AsyncIterator[list[Client]]:
    """Many clients, each of whom follows all tasks."""
    async with contextlib.AsyncExitStack() as held:
        clients = [await held.enter_async_context(client(gateway.socket_url)) for _ in range(CLIENTS)]
        for each in clients:
            for task_id in task_ids:
                await each.ask("subscribe", task_id=task_id)
        yield clients


async def until_closed(me: Client) -> int:
    """Read until the server closes; its close code."""
    try:
        while True:
            await me.read()
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return closed.rcvd.code


def readiness(gateway: GatewayProcess) -> dict[str, Any]:
    """What `/readyz` says, whatever its status."""
    try:
        with urlopen(f"{gateway.url}/readyz", timeout=10) as answer:  # noqa: S310 - our own
            ready: dict[str, Any] = json.load(answer)
    except HTTPError as error:
        assert error.code == 503
        ready = json.load(error)
    return ready


async def is_draining(gateway: GatewayProcess) -> bool:
    """Whether it says that it is not ready because it drains."""
    return "draining" in (await asyncio.to_thread(readiness, gateway))["failing"]


async def submit_three(me: Client) -> list[str]:
    """A task that ends when it is told to, one that does not, and one that waits for a place until then."""
    given = {"commands": ["echo begun; read line; echo over"], "stdin": True}
    short = await me.submit(input=given, mode="background")
    endless = await me.submit("echo begun; sleep 300", mode="background", max_attempts=1)
    waiting = await me.submit("echo begun", mode="background")
    for task_id in (short, endless):
        await me.ask("subscribe", task_id=task_id)
        await me.until_event(task_id, "output")
    return [short, endless, waiting]


async def test_drain_takes_no_more_ends_what_ends_and_tells_everybody(tmp_path: Path) -> None:
    """One task ends, one is given back, uncounted, one never begins; each client is told when to come back."""
    data = tmp_path / "data"
    async with running_gateway(data, env=ENV) as gateway, client(gateway.socket_url) as me:
        task_ids = await submit_three(me)
        async with crowd(gateway, task_ids) as clients:
            os.kill(gateway.pid, signal.SIGTERM)
            await eventually(lambda: is_draining(gateway), 5)
            await refuses_all_that_is_new(gateway, me)
            assert await me.ask("send_input", task_id=task_ids[0], data="go\n") == {}
            codes = await asyncio.gather(*map(until_closed, clients))
        assert await ended_within(gateway.process, 20) == 0
    assert set(codes) == {1012}
    hold_goodbyes([each.goodbye for each in clients])
    for task_id in task_ids:
        check_all([each.frames[task_id] for each in clients], ended=task_id == task_ids[0])
    ends = [clients[0].events[task_id][-1]["data"] for task_id in task_ids]
    assert [(end["status"], end.get("reason")) for end in ends] == [
        ("completed", None),
        ("pending", "drain"),
        ("pending", None),
    ]
    hold_store(data)
    await goes_on(data, task_ids)


async def refuses_all_that_is_new(gateway: GatewayProcess, me: Client) -> None:
    """No handshake, no submit; what is there is served on."""
    with pytest.raises(InvalidStatus) as refused:
        async with client(gateway.socket_url):
            pass
    response = refused.value.response
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    waits = set[int]()
    for _ in range(3):  # a page can't read that, and is let in to be told
        async with connect(
            gateway.socket_url, origin=Origin(gateway.url), subprotocols=[Subprotocol("gateway.v1")]
        ) as page:
            told = json.loads(await page.recv())
            await page.wait_closed()
        assert (told["type"], told["code"], page.close_code, told["reconnect"]) == (
            "goodbye",
            1012,
            1012,
            True,
        )
        waits.add(told["reconnect_in_ms"])
    assert len(waits) > 1
    assert (await me.ask("submit_task"))["code"] == "overloaded"
    assert len((await me.ask("list_tasks"))["tasks"]) == 3


def hold_goodbyes(goodbyes: list[dict[str, Any] | None]) -> None:
    """Everybody got one, with a time of their own."""
    told = [goodbye for goodbye in goodbyes if goodbye is not None]
    assert len(told) == CLIENTS
    assert {(goodbye["code"], goodbye["reconnect"]) for goodbye in told} == {(1012, True)}
    waits = [goodbye["reconnect_in_ms"] for goodbye in told]
    assert all(isinstance(wait, int) and 0 <= wait < 1000 for wait in waits)
    halves = sum(wait < 500 for wait in waits)
    assert CLIENTS // 4 < halves < CLIENTS - CLIENTS // 4, waits
    assert len(set(waits)) > CLIENTS * 3 // 4, waits


def hold_store(data: Path) -> None:
    """Nothing is half-written: SQLite is content, nobody owns a task, each log ends where its row says."""
    with contextlib.closing(sqlite3.connect(data / "gateway.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM task WHERE owner IS NOT NULL").fetchone() == (0,)
        ends = "SELECT max(seq) FROM event WHERE event.task_id = task.task_id"
        assert db.execute(f"SELECT count(*) FROM task WHERE last_seq != ({ends})").fetchone() == (0,)


async def goes_on(data: Path, task_ids: list[str]) -> None:
    """The next one runs what was given back and what waited; `max_attempts` 1 was not used up."""
    _, endless, waiting = task_ids
    async with running_gateway(data) as gateway, client(gateway.socket_url) as me:
        for task_id in (endless, waiting):
            await me.ask("subscribe", task_id=task_id)
        assert (await me.until_event(endless, "status", status="running", attempt=2))["data"][
            "previous"
        ] == "pending"
        await me.until_ended(waiting)
        await me.ask("cancel_task", task_id=endless)
        assert [e["data"]["attempt"] for e in (await me.until_ended(endless)) if e["event"] == "status"] == [
            0,
            1,
            1,
            2,
            2,
        ]
        check_all([me.frames[endless]])


async def test_drain_gives_a_paused_task_back_at_once(tmp_path: Path) -> None:
    """A paused task holds no drain up; it stays paused, and resumed it is run again, which does not count."""
    env = {"GATEWAY_DRAIN_S": "60"}
    async with running_gateway(tmp_path / "data", env=env) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("echo begun; sleep 2; echo over", max_attempts=1)
        await me.until_event(task_id, "output")
        await me.ask("pause_task", task_id=task_id)
        await me.until_event(task_id, "status", status="paused")
        os.kill(gateway.pid, signal.SIGTERM)
        assert await ended_within(gateway.process, 20) == 0
    async with running_gateway(tmp_path / "data") as gateway, client(gateway.socket_url) as me:
        task = (await me.ask("subscribe", task_id=task_id))["task"]
        assert (task["status"], task["instance"]) == ("paused", None)
        await me.ask("resume_task", task_id=task_id)
        events = await me.until_ended(task_id)
        assert (events[-1]["data"]["status"], events[-1]["data"]["attempt"]) == ("completed", 2)


async def test_killed_gateways_tasks_run_again_before_the_next_is_ready(tmp_path: Path) -> None:
    """On the embedded defaults nobody waits for a lease: the lock proves that the owner is dead."""
    async with running_gateway(tmp_path / "data") as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("echo begun; sleep 300")
        await me.until_event(task_id, "output")
        await gateway.kill()
    async with running_gateway(tmp_path / "data") as gateway, client(gateway.socket_url) as me:
        task = (await me.ask("subscribe", task_id=task_id))["task"]
        assert task["last_seq"] > 3, "it was not taken up at the start"
        began = asyncio.get_running_loop().time()
        await me.until_event(task_id, "status", status="running", attempt=2)
        assert asyncio.get_running_loop().time() - began < 15
        await me.ask("cancel_task", task_id=task_id)
