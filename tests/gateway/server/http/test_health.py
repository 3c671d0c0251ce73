"""`/readyz` and the store."""

import asyncio
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.bus.memory import MemoryBus
from gateway.metrics import Metrics
from gateway.server.data_dir import LITTLE_ROOM, disk_problem
from gateway.server.http.health import CHECK_EVERY_S, Health
from gateway.server.http.routes import NOBODY, Asked
from gateway.state.sqlite.store import SqliteStore
from tests.support.stores import SqliteBackend, inline
from tests.support.waiting import held_by_another, let_pass

pytestmark = pytest.mark.looptime


async def no_body() -> None:
    """What a GET has."""


async def readiness(health: Health) -> tuple[int, dict[str, Any]]:
    """Status and body of `/readyz`."""
    asked = Asked(make_mocked_request("GET", "/readyz"), NOBODY, None, None, no_body)
    answer = await health.readyz(asked)
    assert isinstance(answer, web.Response)
    assert isinstance(answer.body, bytes)
    return answer.status, orjson.loads(answer.body)


async def test_store_that_takes_no_write_is_named(tmp_path: Path) -> None:
    """With what is wrong, until it takes one again; reading it is not enough."""
    async with SqliteBackend(tmp_path, executors=inline).opened() as store:
        assert isinstance(store, SqliteStore)
        health = Health(store, MemoryBus(), lambda: {"ok": True}, Metrics())
        with held_by_another(store):
            status, body = await readiness(health)
            assert (status, body["failing"]) == (503, ["store"])
            assert "another process holds the database" in body["parts"]["store"]["problem"]
        await let_pass(CHECK_EVERY_S)
        assert (await readiness(health))[0] == 200


class BusInTrouble(MemoryBus):
    """One that others are not heard on."""

    problem = "nobody is heard"


async def test_lost_bus_degrades(tmp_path: Path) -> None:
    """Everything goes on without it, so the instance stays ready, and says so."""
    async with SqliteBackend(tmp_path, executors=inline).opened() as store:
        health = Health(store, BusInTrouble(), lambda: {"ok": True}, Metrics())
        status, body = await readiness(health)
        assert (status, body["status"], body["degraded"]) == (200, "ok", ["bus"])
        assert body["parts"]["bus"] == {"ok": False, "problem": "nobody is heard"}


async def test_many_who_ask_cost_one_write(tmp_path: Path) -> None:
    """An answer is good for a second: the page is open to all, and a write is not free."""
    async with SqliteBackend(tmp_path, executors=inline).opened() as store:
        assert isinstance(store, SqliteStore)
        connection = store._writing._connection
        assert connection is not None
        health = Health(store, MemoryBus(), lambda: {"ok": True}, Metrics())
        commits: list[str] = []
        connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        await asyncio.gather(*(readiness(health) for _ in range(20)))
        assert len(commits) == 1
        await let_pass(CHECK_EVERY_S)
        await readiness(health)
        assert len(commits) == 2


async def test_further_parts_are_named(tmp_path: Path) -> None:
    """Without a lease nothing can be done here; a disk that gets full is told of before the store fails for it."""
    async with SqliteBackend(tmp_path, executors=inline).opened() as store:
        health = Health(store, MemoryBus(), lambda: {"ok": True}, Metrics())
        found: dict[str, str | None] = {"leases": None, "disk": None}
        health.problems = {name: partial(found.get, name) for name in found}
        assert (await readiness(health))[1]["parts"].keys() == {"store", "sandbox", "bus", "leases", "disk"}
        found["disk"] = "3 MiB are free"
        status, body = await readiness(health)
        assert (status, body["degraded"], body["parts"]["disk"]["problem"]) == (
            200,
            ["disk"],
            "3 MiB are free",
        )
        found["leases"] = "over"
        status, body = await readiness(health)
        assert (status, body["failing"]) == (503, ["leases"])


def test_room_on_the_disk_is_looked_at(tmp_path: Path) -> None:
    """A folder that is not there is told of, too."""
    is_roomy = shutil.disk_usage(tmp_path).free >= LITTLE_ROOM
    assert (disk_problem(tmp_path) is None) == is_roomy
    assert "No such file" in str(disk_problem(tmp_path / "none"))
