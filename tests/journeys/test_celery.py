"""Heavy agents in Celery's processes: a real broker, real workers, killed and told twice."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.server.celery_broker import made, sender
from gateway.server.celery_offers import make_offers
from gateway.server.checks.celery import celery
from gateway.server.data_dir import StartError
from gateway.settings import Settings
from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.history import check_one
from tests.support.processes import children_of, until
from tests.support.redis_server import redis_server
from tests.support.work import LOG

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

PROGRAM = ("-m", "celery", "-A", "gateway.server.celery_worker", "worker", "--concurrency", "2")
QUIET = ("--without-mingle", "--without-gossip", "--loglevel", "WARNING")


@dataclass
class Place:
    """A gateway with a worker of Celery's beside it."""

    gateway: GatewayProcess
    worker: asyncio.subprocess.Process
    settings: Settings
    env: dict[str, str]

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.gateway.socket_url

    def is_ours(self, pid: int) -> bool:
        """Whether that process is one of the worker's."""
        return pid in children_of(self.worker.pid)


@contextlib.asynccontextmanager
async def working(env: dict[str, str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker, which may take a while to be there: what it is told waits for it."""
    with log.open("ab") as said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *PROGRAM, *QUIET), stderr=said, stdout=said, env=os.environ | env
        )
    try:
        yield process
    finally:
        for pid in [process.pid, *children_of(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """Both, over one store and one Redis, with leases so short that a test can wait for them."""
    folder = tmp_path_factory.mktemp("celery")
    with redis_server() as redis:
        broker = f"redis://127.0.0.1:{redis.port}/1"
        env = {
            "EVENT_BUS_BACKEND": "redis",
            "REDIS_URL": redis.url,
            "CELERY_BROKER_URL": broker,
            "GATEWAY_DATA_DIR": str(folder / "data"),
            "GATEWAY_AGENTS": "sieve=tests.support.heavy_agents:Sieve,"
            "litterer=tests.support.leaving_agents:HeavyLitterer",
            "GATEWAY_LEASE_S": "3",
            "GATEWAY_LEASE_RENEW_S": "0.5",
            "GATEWAY_TAKEOVER_S": "4",
        }
        settings = Settings(event_bus_backend="redis", celery_broker_url=SecretStr(broker))
        async with (
            running_gateway(folder / "data", "--no-local-sandbox", env=env) as gateway,
            working(env, folder / "celery.log") as worker,
        ):
            yield Place(gateway, worker, settings, env)


TRACE = f"00-{11:032x}-00f067aa0ba902b7-01"


async def begun(me: Client, folder: Path) -> tuple[str, int]:
    """A task that is busy, and the process that it is in."""
    (folder / "busy").touch()
    given = {"task": "primes", "busy": str(folder / "busy"), "runs": str(folder / "runs")}
    task_id = await me.submit(agent="sieve", input=given, traceparent=TRACE)
    told = (await me.until_event(task_id, "progress"))["data"]
    assert told["traceparent"].split("-")[1] == TRACE.split("-")[1], "its asker's trace goes into the process"
    return task_id, told["pid"]


def runs(folder: Path) -> list[str]:
    """The processes that have begun it."""
    return (folder / "runs").read_text().split()


async def test_heavy_agent_runs_in_a_process_of_celerys_once(here: Place, tmp_path: Path) -> None:
    """What it tells is told live; told of again, also behind its end, it is not done again."""
    async with client(here.url) as me:
        task_id, pid = await begun(me, tmp_path)
        assert here.is_ours(pid)
        await asyncio.to_thread(sender(here.settings), [(task_id, 0), (task_id, 1), (task_id, 0)])
        (tmp_path / "busy").unlink()
        events = await me.until_ended(task_id)
        await asyncio.to_thread(sender(here.settings), [(task_id, 0), (task_id, 1)])
        other, _pid = await begun(me, tmp_path)
        (tmp_path / "busy").unlink()
        await me.until_ended(other)
        check_one(me.frames[task_id])
    assert events[-1]["data"]["result"] == {"pid": pid}
    assert len(runs(tmp_path)) == 2


async def test_cancel_ends_the_process(here: Place, tmp_path: Path) -> None:
    """Whatever its code does: a process is one run's."""
    async with client(here.url) as me:
        task_id, pid = await begun(me, tmp_path)
        await me.ask("cancel_task", task_id=task_id)
        assert (await me.until_ended(task_id))[-1]["data"]["status"] == "cancelled"
        await until(lambda: not here.is_ours(pid), within_s=30, what="its process is gone")


async def test_what_an_agent_leaves_behind_does_not_keep_its_process(here: Place) -> None:
    """A task that heeds no cancel, and a thread: the process ends all the same, and another takes its place."""
    async with client(here.url) as me:
        task_id = await me.submit(agent="litterer", input={"task": "x"})
        pid = (await me.until_event(task_id, "progress"))["data"]["pid"]
        assert (await me.until_ended(task_id))[-1]["data"]["status"] == "completed"
        await until(lambda: not here.is_ours(pid), within_s=30, what="its process is gone")


async def test_killed_process_is_taken_over_from(here: Place, tmp_path: Path) -> None:
    """Its lease ends, and another one is told of the task, which goes on in the next attempt."""
    async with client(here.url) as me:
        task_id, pid = await begun(me, tmp_path)
        os.kill(pid, signal.SIGKILL)
        await me.until_event(task_id, "status", status="running", attempt=2)
        (tmp_path / "busy").unlink()
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
    told: list[Any] = [event["data"]["status"] for event in events if event["event"] == "status"]
    assert told == ["pending", "running", "pending", "running", "completed"]
    assert len(runs(tmp_path)) == 2


async def test_killed_worker_costs_no_task(here: Place, tmp_path: Path) -> None:
    """One of two, as on another machine, is killed with its processes: each of its tasks has one end, by the other."""
    folders = made_folders(tmp_path, 3)
    async with working(here.env, tmp_path / "other.log") as other, client(here.url) as me:
        await asyncio.to_thread(wait_for_workers, here.settings, 2)
        tasks = dict([await begun(me, folder) for folder in folders])
        await asyncio.to_thread(kill_all, other.pid)
        lost = [task_id for task_id, pid in tasks.items() if not here.is_ours(pid)]
        assert lost, "the other worker had none"
        for folder in folders:
            (folder / "busy").unlink()
        for task_id in tasks:
            end = (await me.until_ended(task_id))[-1]["data"]
            assert end["status"] == "completed"
            assert end["attempt"] > 1 or task_id not in lost
            check_one(me.frames[task_id])


def wait_for_workers(settings: Settings, count: int) -> None:
    """Until so many answer."""
    control = made(settings).control
    deadline = time.monotonic() + 90
    while len(control.ping(timeout=1.0, limit=count)) < count:
        assert time.monotonic() < deadline, "no second worker answers"


def made_folders(folder: Path, count: int) -> list[Path]:
    """So many, a task's each."""
    folders = [folder / str(number) for number in range(count)]
    for each in folders:
        each.mkdir()
    return folders


def kill_all(worker: int) -> None:
    """As a machine that loses its power: the main process first, which would replace the others."""
    family = [worker, *children_of(worker)]
    for pid in family:
        os.kill(pid, signal.SIGKILL)


async def test_orphaned_process_does_its_task_to_the_end(here: Place, tmp_path: Path) -> None:
    """Where the main process alone is killed, who runs a task holds its own lease, and goes on."""
    async with working(here.env, tmp_path / "other.log") as other, client(here.url) as me:
        await asyncio.to_thread(wait_for_workers, here.settings, 2)
        tasks = dict([await begun(me, folder) for folder in made_folders(tmp_path, 3)])
        orphans = [pid for pid in children_of(other.pid) if pid in tasks.values()]
        os.kill(other.pid, signal.SIGKILL)
        assert orphans, "the other worker had none"
        for number in range(3):
            (tmp_path / str(number) / "busy").unlink()
        ends = {task_id: (await me.until_ended(task_id))[-1] for task_id in tasks}
        for task_id in tasks:
            check_one(me.frames[task_id])
        await until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans),
            within_s=30,
            what="the orphans are gone",
        )
    assert {end["data"]["status"] for end in ends.values()} == {"completed"}


async def test_check_finds_a_worker_that_answers(here: Place, tmp_path: Path) -> None:
    """Also where it is busy; a broker that is not there is told apart from one without workers."""
    async with client(here.url) as me:
        await begun(me, tmp_path)
        (found,) = await asyncio.to_thread(lambda: [*celery(here.settings)])
        (tmp_path / "busy").unlink()
    assert (found.state, found.message) == ("ok", "a worker answers")
    nobody = Settings(event_bus_backend="redis", celery_broker_url=SecretStr("redis://127.0.0.1:1/1"))
    (found,) = await asyncio.to_thread(lambda: [*celery(nobody)])
    assert found.state == "warn"
    assert "does not answer" in found.message


@pytest.mark.parametrize(
    "what", [{"event_bus_backend": "memory"}, {"state_persistence_backend": "surrealdb"}]
)
async def test_store_that_nobody_shares_keeps_heavy_agents_in_its_gateway(what: dict[str, Any]) -> None:
    """The gateway starts, as with the guide's own settings, and says so; a worker does not start."""
    given: dict[str, Any] = {
        "event_bus_backend": "redis",
        "celery_broker_url": SecretStr("redis://127.0.0.1:1/1"),
    }
    settings = Settings(**(given | what))
    with capture_logs() as lines:
        assert make_offers(settings, LOG) is None
    assert ["passed over" in line["event"] for line in lines] == [True]
    assert [found.state for found in celery(settings)] == ["warn"]
    with pytest.raises(StartError, match="EVENT_BUS_BACKEND=redis"):
        made(settings)
