"""Two builds side by side: a fleet of an older commit is upgraded, one instance after the other, under work.

`CHAOS_OLD_BUILD=COMMIT` names another older one. Its code runs with the packages that are installed here.
"""

import asyncio
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.fleets.balanced import CLIENTS, TASKS, Crowd, check_counted, submitted
from tests.fleets.storm import AGENTS
from tests.house.source import ROOT
from tests.support.builds import NoBuildError, before_the_schema_changed, schema_of, unpacked
from tests.support.fleet import Fleet, Instance, running_fleet
from tests.support.gateway import client, output_of
from tests.support.history import check_all
from tests.support.processes import until

pytestmark = [pytest.mark.journey, pytest.mark.timeout(900)]

LAST_SESSION: Final = "74bd8f2"
ENV: Final = {"GATEWAY_AGENTS": AGENTS, "GATEWAY_DRAIN_S": "1", "GATEWAY_REQUESTS_PER_S": "0"}
SHORT: Final = {"agent": "ticker", "input": {"task": "count", "ticks": 5, "every_s": 0.05}}
BUILDS: Final[dict[str, Callable[[], str]]] = {
    "of a day ago": lambda: os.environ.get("CHAOS_OLD_BUILD", LAST_SESSION),
    "of an older schema": before_the_schema_changed,
}


def older(which: str, folder: Path) -> tuple[Path, int]:
    """Where one of `BUILDS` is, and which schema it knows; skips the test where it can't be had."""
    try:
        commit = BUILDS[which]()
        build, schema = unpacked(commit, folder), schema_of(commit)
    except NoBuildError as error:
        pytest.skip(f"no older build: {error}")
    # The agent that is run belongs to the test, and not to the build.
    (build / "tests" / "fleets").mkdir(exist_ok=True)
    shutil.copy(ROOT / "tests" / "fleets" / "ticker.py", build / "tests" / "fleets")
    return build, schema


async def schema_now(fleet: Fleet) -> int:
    """Which schema the database has."""
    connection = await asyncpg.connect(fleet.postgres.dsn())
    try:
        version: int = await connection.fetchval("SELECT max(version) FROM schema_version")
    finally:
        await connection.close()
    return version


async def serve_each_other(gateways: list[Instance]) -> None:
    """What is submitted at any is seen whole at every other, and what is wished at one is done for the other."""
    for one, other in itertools.permutations(gateways, 2):
        async with client(one.socket_url) as here, client(other.socket_url) as there:
            task_id = await here.submit(**SHORT)
            await there.ask("subscribe", task_id=task_id)
            await asyncio.gather(here.until_ended(task_id), there.until_ended(task_id))
            check_all([here.frames[task_id], there.frames[task_id]])
            endless = await here.submit("echo begun; sleep 600")
            await here.until_event(endless, "output")
            await there.ask("cancel_task", task_id=endless)
            assert (await here.until_ended(endless))[-1]["data"]["status"] == "cancelled"


async def paused(gateway: Instance) -> str:
    """A task in a sandbox that has been paused."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("echo begun; sleep 1; echo over")
        await me.until_event(task_id, "output")
        await me.ask("pause_task", task_id=task_id)
        await me.until_event(task_id, "status", status="paused")
    return task_id


@pytest.mark.parametrize("which", BUILDS)
async def test_fleet_is_upgraded_under_work(tmp_path: Path, which: str) -> None:
    """Workers first, then gateways: the schema moves on below those that are left, and nobody misses an event."""
    build, schema = older(which, tmp_path / "old")
    (folder := tmp_path / "fleet").mkdir()
    async with running_fleet(folder, env=ENV, build=build) as fleet:
        assert await schema_now(fleet) == schema
        held, task_ids = await paused(fleet.gateways[1]), await submitted(fleet)
        crowd = Crowd(fleet)
        async with asyncio.TaskGroup() as group:
            following = [group.create_task(crowd.follows(task_ids[n % TASKS])) for n in range(CLIENTS)]
            await until(lambda: crowd.came >= CLIENTS, within_s=60, what="all clients")
            for instance in [*fleet.workers, *fleet.gateways]:
                assert await instance.stop() == 0
                instance.folder = None
                await instance.start()
                assert await schema_now(fleet) == schema_of("HEAD")
                await serve_each_other(fleet.gateways)
        check_counted([done.result() for done in following])
        async with client(fleet.socket_url) as me:
            await me.ask("subscribe", task_id=held)
            await me.ask("resume_task", task_id=held)
            events = await me.until_ended(held)
            assert events[-1]["data"]["status"] == "completed"
            assert output_of(events).endswith("begun\nover\n")
        if schema < schema_of("HEAD"):
            await refuses_to_start(fleet.gateways[0], build)


async def refuses_to_start(gateway: Instance, build: Path) -> None:
    """An older build does not touch what it does not understand, and says so."""
    await gateway.stop()
    gateway.folder = build
    with pytest.raises(AssertionError, match="use a newer gateway"):
        await gateway.start()
