"""A separate sandbox service survives its gateway: what ran in it is gone on with, in the same attempt."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from sqlite3 import connect
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.gateway import Client, GatewayProcess, client, output_of, running_gateway
from tests.support.history import check_one
from tests.support.processes import until, with_marker
from tests.support.sandbox_process import sandbox_service

pytestmark = pytest.mark.journey


@pytest.fixture(name="service")
def _service() -> Iterator[str]:
    # However busy this machine is, a gateway is back by then.
    with sandbox_service(resume_s="60") as url:
        yield url


@asynccontextmanager
async def gateway_of(data: Path, service: str, **env: str) -> AsyncIterator[GatewayProcess]:
    """A gateway whose only sandbox is the service."""
    given = {"WEBSOCKET_URL": service, **env}
    async with running_gateway(data, "--no-local-sandbox", env=given) as gateway:
        yield gateway


@asynccontextmanager
async def watching(gateway: GatewayProcess, task_id: str) -> AsyncIterator[Client]:
    """A client that follows the task from its beginning."""
    async with client(gateway.socket_url) as me:
        await me.ask("subscribe", task_id=task_id)
        yield me


def statuses(events: list[dict[str, Any]]) -> list[str]:
    """What the task was, one after the other."""
    return [event["data"]["status"] for event in events if event["event"] == "status"]


async def begun(data: Path, service: str, *commands: Any, **fields: Any) -> str:
    """A task that has put something out when its gateway is killed."""
    async with gateway_of(data, service) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit(*commands, **fields)
        await me.until_event(task_id, "output")
        await gateway.kill()
    return task_id


def lines(first: int, last: int) -> str:
    """What `seq` prints."""
    return "".join(f"{number}\n" for number in range(first, last + 1))


async def test_gateway_killed_again_and_again_costs_no_attempt_and_no_line(
    tmp_path: Path, service: str
) -> None:
    """Wherever its gateway is killed, a task goes on in the same attempt, and each line is in its log once."""
    rng = Random(4)
    data = tmp_path / "data"
    count = 2000
    command = f"for i in $(seq {count}); do echo $i; [ $((i % 20)) = 0 ] && sleep 0.05; done"
    task_id = await begun(data, service, command)
    for _ in range(3):
        async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
            seen = rng.randrange(100)
            while len(me.events.get(task_id, [])) < seen and not me.has_ended(task_id):
                await me.read()
            await gateway.kill()
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
        task = (await me.ask("get_task", task_id=task_id))["task"]
    assert statuses(events) == ["pending", "running", "completed"]
    assert output_of(events) == lines(1, count)
    assert [event["data"]["exit_code"] for event in events if event["event"] == "command"] == [None, 0]
    assert (task["attempt"], task["instance"]) == (1, None)


async def test_task_that_ended_while_the_gateway_was_away_has_its_end(tmp_path: Path, service: str) -> None:
    """The sandbox keeps the end, and all that came before it, for as long as it would have run on."""
    data = tmp_path / "data"
    task_id = await begun(data, service, "echo begun", "sleep 1; seq 50000; exit 3")
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
    assert statuses(events) == ["pending", "running", "failed"]
    assert output_of(events) == "begun\n" + lines(1, 50000)
    assert events[-1]["data"]["error"]["details"]["exit_code"] == 3


def stored(data: Path, task_id: str, column: str) -> Any:
    """A column of the task's row."""
    with closing(connect(f"file:{data / 'gateway.db'}?mode=ro", uri=True)) as db:
        (value,) = db.execute(f"SELECT {column} FROM task WHERE task_id = ?", (task_id,)).fetchone()
    return value


async def test_paused_task_stands_still_while_gateways_come_and_go(tmp_path: Path, service: str) -> None:
    """It is paused before and after, and goes on when it is told to, in the same attempt."""
    data = tmp_path / "data"
    async with gateway_of(data, service) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("for i in $(seq 200); do echo $i; sleep 0.02; done", timeout_s=60)
        await me.until_event(task_id, "output")
        await me.ask("pause_task", task_id=task_id)
        await me.until_event(task_id, "status", status="paused")
        await gateway.kill()
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        await me.until_event(task_id, "status", status="paused")
        ran = stored(data, task_id, "ran_ms")
        await gateway.kill()
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        task = (await me.ask("get_task", task_id=task_id))["task"]
        assert (task["status"], task["attempt"]) == ("paused", 1)
        assert stored(data, task_id, "ran_ms") == ran
        await me.ask("resume_task", task_id=task_id)
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
    assert statuses(events) == ["pending", "running", "paused", "running", "completed"]
    assert output_of(events) == lines(1, 200)


async def test_wish_outlives_its_owner_and_takes_effect_with_the_next(tmp_path: Path, service: str) -> None:
    """A wish that its owner died with is obeyed by whoever goes on with the task."""
    data = tmp_path / "data"
    async with gateway_of(data, service) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("echo begun; sleep 600")
        await me.until_event(task_id, "output")
        # Its answer says that the wish is durable, and no more.
        await me.ask("cancel_task", task_id=task_id, reason="enough")
        await gateway.kill()
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
    assert statuses(events) == ["pending", "running", "cancelled"]
    assert events[-1]["data"]["reason"] == "enough"


async def test_input_comes_once_and_in_order_whoever_hands_it_on(tmp_path: Path, service: str) -> None:
    """What was answered is stored, and given behind what the sandbox has, though its owner was killed amid it."""
    data = tmp_path / "data"
    given = {"commands": ["echo begun; cat"], "stdin": True}
    async with gateway_of(data, service) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit(input=given)
        await me.until_event(task_id, "output")
        await feed(me, task_id, range(1, 60))
        await gateway.kill()
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        await feed(me, task_id, range(60, 130))
        await gateway.kill()
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        await feed(me, task_id, range(130, 201))
        await me.ask("send_input", task_id=task_id, data="", eof=True)
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
    assert statuses(events) == ["pending", "running", "completed"]
    assert output_of(events) == "begun\n" + lines(1, 201)


async def feed(me: Client, task_id: str, numbers: range) -> None:
    """Send numbers, each under a key of its own, and the next one without waiting for its answer."""
    for number in numbers:
        answer = await me.ask("send_input", task_id=task_id, data=f"{number}\n", key=str(number))
        assert answer == {}
    await me.send("send_input", task_id=task_id, data=f"{numbers.stop}\n", key=str(numbers.stop))


async def test_files_on_their_way_back_come_whole(tmp_path: Path, service: str) -> None:
    """Killed amid a file: what is there of it is gone on with, and each file is what its sandbox says it is."""
    data = tmp_path / "data"
    make = "for i in 1 2 3 4 5 6; do head -c 9000000 /dev/urandom > f$i; done; sha256sum f*"
    given = {"commands": [make], "collect": {"globs": ["f*"]}, "limits": {"disk_mb": 128}}
    async with gateway_of(data, service) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit(input=given)
        await me.until_event(task_id, "output")
        await until(lambda: stored(data, task_id, "place_file") == "f1", within_s=30, what="a part of a file")
        await gateway.kill()
    async with gateway_of(data, service) as gateway:
        await until(lambda: stored(data, task_id, "place_file") == "f3", within_s=30, what="more files")
        await gateway.kill()
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
    assert statuses(events) == ["pending", "running", "completed"]
    files = events[-1]["data"]["result"]["files"]
    assert "".join(f"{file['sha256']}  {file['path']}\n" for file in files) == output_of(events)


# --- what can't be gone on with -------------------------------------------------------------------------


async def test_gateway_that_comes_too_late_begins_a_new_attempt(tmp_path: Path) -> None:
    """The sandbox has waited and ended the session: it is lost with the instance, and runs again."""
    data = tmp_path / "data"
    with sandbox_service(resume_s="2") as service:
        task_id = await begun(data, service, "echo begun; [ -e /nowhere ] || sleep 31.41592")
        await until(lambda: not with_marker("31.41592"), within_s=20, what="its end at the sandbox")
        async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
            await me.until_event(task_id, "status", status="running", attempt=2)
            lost = await me.until_event(task_id, "status", status="pending", attempt=1)
    assert lost["data"] == {
        "status": "pending",
        "previous": "running",
        "attempt": 1,
        "reason": "instance_lost",
    }


async def test_sandbox_that_was_started_anew_has_lost_its_sessions(tmp_path: Path) -> None:
    """Another `boot_id` at the same address: what ran there is over, and runs again at once."""
    data = tmp_path / "data"
    with sandbox_service(resume_s="60") as service:
        task_id = await begun(data, service, "echo begun; sleep 600")
    with sandbox_service(port=str(urlsplit(service).port)) as again:
        assert again == service
        async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
            lost = await me.until_event(task_id, "status", status="pending", attempt=1)
            await me.until_event(task_id, "output")
            await me.until_event(task_id, "status", status="running", attempt=2)
    assert lost["data"]["reason"] == "sandbox_lost"


async def test_drain_hands_on_what_runs_elsewhere_and_ends_it_there(tmp_path: Path, service: str) -> None:
    """A drain costs no attempt, and leaves nothing running at a sandbox that runs on."""
    data = tmp_path / "data"
    async with gateway_of(data, service, GATEWAY_DRAIN_S="0.2") as gateway:
        async with client(gateway.socket_url) as me:
            task_id = await me.submit("echo begun; sleep 27.18281", max_attempts=1)
            await me.until_event(task_id, "output")
        assert await gateway.stop() == 0
    await until(lambda: not with_marker("27.18281"), within_s=10, what="its end at the sandbox")
    async with gateway_of(data, service) as gateway, watching(gateway, task_id) as me:
        await me.until_event(task_id, "status", status="running", attempt=2)
        lost = await me.until_event(task_id, "status", status="pending", attempt=1)
    assert lost["data"]["reason"] == "drain"
