"""An agent that somebody wrote, from end to end: `GATEWAY_AGENTS`, a module on the path, and what is around it."""

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import gateway
from tests.support import own_agents
from tests.support.gateway import Client, GatewayProcess, client, ended_within, running_gateway, start_gateway
from tests.support.history import check_one
from tests.support.processes import until
from tests.support.waiting import eventually
from tests.support.web import post, read

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

NAMED = "gardener=own_agents:Gardener,old=tests.support.old_agents:OldInProcess"
INPUT = {"task": "a garden", "rows": 3}


def authors(folder: Path, agents: str = NAMED) -> dict[str, Any]:
    """Options of a gateway that is started as an installed script, in a folder with the agent's module."""
    folder.mkdir(exist_ok=True)
    shutil.copy(own_agents.__file__, folder)
    (folder / "leaving.py").write_text("raise SystemExit(3)\n")
    env = {"GATEWAY_AGENTS": agents, "PYTHONPATH": str(Path(gateway.__file__).parent.parent)}
    return {"env": env, "under": ("env", "-C", str(folder)), "program": ("-P", "-m", "gateway")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway that has the agent."""
    folder = tmp_path_factory.mktemp("own")
    async with running_gateway(folder / "data", **authors(folder / "code")) as started:
        yield started


@pytest.fixture
def here(module_gateway: GatewayProcess) -> GatewayProcess:
    """The module's gateway."""
    return module_gateway


async def get(here: GatewayProcess, path: str) -> Any:
    """The JSON there."""
    return json.loads(await read(here.url + path))


def items(me: Client) -> list[dict[str, Any]]:
    """What the watched list has told."""
    return [update["item"] for update in me.updates if "item" in update]


async def begun(me: Client, **fields: Any) -> str:
    """A task's id, once it asks."""
    task_id = await me.submit(agent="gardener", input=INPUT, **fields)
    await me.until_event(task_id, "input_requested")
    return task_id


async def test_agent_talks_asks_and_serves(here: GatewayProcess) -> None:
    """What it says is told live, its question is in the task, an answer over HTTP lets it go on, its site stands."""
    async with client(here.socket_url) as me:
        assert "gardener" in me.welcome["agents"]
        await me.ask("watch", topic="tasks")
        task_id = await begun(me)
        task = (await me.ask("get_task", task_id=task_id))["task"]
        assert (task["status"], task["progress"]["progress"], task["waiting_for"]["key"]) == (
            "running",
            10,
            "plant",
        )
        assert task["waiting_for"]["schema"]["required"] == ["plant"]
        while task["waiting_for"] not in [shown["waiting_for"] for shown in items(me)]:
            await me.read()
        answer = await post(
            f"{here.url}/v1/tasks/{task_id}/input", {"data": {"plant": "kale"}, "key": "plant"}
        )
        assert answer == (200, {})
        events = await me.until_ended(task_id)
    kinds = [event["event"] for event in events]
    assert kinds == [
        *("status", "status", "log", "progress", "checkpoint", "input_requested", "input_given"),
        *("progress", "progress", "status"),
    ]
    assert events[2]["data"] == {"level": "info", "message": "digging 3 rows"}
    result = events[-1]["data"]["result"]
    assert result["text"] == "a garden"
    assert await read(result["url"]) == "kale\n"
    assert (await get(here, f"/v1/tasks/{task_id}"))["task"]["waiting_for"] is None
    check_one(me.frames[task_id])


async def test_waiting_is_not_the_tasks_time(here: GatewayProcess) -> None:
    """A task of a few seconds may wait for longer; a wrong answer is asked for again, under a key of its own."""
    async with client(here.socket_url) as me:
        task_id = await begun(me, timeout_s=4)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4.5):
                await me.read()
        assert await me.ask("send_input", task_id=task_id, data={"plant": 1}, key="plant") == {}
        await me.until_event(task_id, "input_requested", key="plant-2")
        assert await me.ask("send_input", task_id=task_id, data={"plant": "leek"}, key="plant-2") == {}
        assert (await me.until_ended(task_id))[-1]["data"]["status"] == "completed"


async def test_pause_and_cancel_reach_one_that_waits(here: GatewayProcess) -> None:
    """It stands still as it is, takes an answer only when it goes on, and ends when it is told to."""
    async with client(here.socket_url) as me:
        first, second = await begun(me), await begun(me)
        for task_id in (first, second):
            await me.ask("pause_task", task_id=task_id)
            await me.until_event(task_id, "status", status="paused")
        await me.ask("send_input", task_id=first, data={"plant": "kale"}, key="plant")
        task = (await me.ask("get_task", task_id=second))["task"]
        assert (task["status"], task["waiting_for"]["key"]) == ("paused", "plant")
        await me.ask("cancel_task", task_id=second)
        assert (await me.until_ended(second))[-1]["data"]["status"] == "cancelled"
        assert (await me.ask("get_task", task_id=first))["task"]["status"] == "paused"
        await me.ask("resume_task", task_id=first)
        assert (await me.until_ended(first))[-1]["data"]["status"] == "completed"


@pytest.mark.parametrize(
    "given", [{}, {"task": 1}, {"task": "x", "rows": 0}, {"task": "x", "rows": "3"}], ids=str
)
async def test_input_is_the_agents_own_kind(here: GatewayProcess, given: dict[str, Any]) -> None:
    """What its model does not take is refused at submit, and makes no task."""
    async with client(here.socket_url) as me:
        refused = await me.ask("submit_task", agent="gardener", input=given)
        assert refused["code"] == "bad_frame"
        assert all(found["loc"][0] == "input" for found in refused["details"]["errors"])


async def test_input_is_described(here: GatewayProcess) -> None:
    """Each agent's JSON Schema is served, the task's text in it."""
    agents = {agent["name"]: agent["input_schema"] for agent in (await get(here, "/v1/agents"))["agents"]}
    assert agents["gardener"]["required"] == ["task"]
    assert agents["gardener"]["properties"]["rows"]["maximum"] == 9


async def working(me: Client, pid: Path) -> tuple[str, int]:
    """A task of the synchronous agent that works in a process for ever, and that process."""
    given = {"task": "hang", "pid": str(pid)}
    task_id = await me.submit(agent="old", input=given, max_attempts=1)
    found: list[int] = []

    def works() -> bool:
        if pid.exists() and pid.read_text():
            found.append(int(pid.read_text()))
        return found != []

    await until(works, within_s=30, what="its process works")
    return task_id, found[0]


def lives(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_cancel_ends_a_synchronous_agents_process(here: GatewayProcess, tmp_path: Path) -> None:
    """It is gone when the task is cancelled; one that was let be gives its result."""
    async with client(here.socket_url) as me:
        task_id, pid = await working(me, tmp_path / "pid")
        await me.ask("cancel_task", task_id=task_id)
        assert (await me.until_ended(task_id))[-1]["data"]["status"] == "cancelled"
        assert not lives(pid)
        done = await me.submit(agent="old", input={"task": "x"})
        assert (await me.until_ended(done))[-1]["data"]["result"]["thread"] is True


async def test_synchronous_agents_process_ends_with_its_gateway(tmp_path: Path) -> None:
    """Also where that is killed."""
    options = authors(tmp_path / "code")
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", **options) as here:
        async with client(here.socket_url) as me:
            _, pid = await working(me, tmp_path / "pid")
        await here.kill()
        await until(lambda: not lives(pid), within_s=10, what="its process has ended")


async def test_killed_gateway_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    """What was finished is not done again, what was asked is asked again, and nothing of the log is lost."""
    options = authors(tmp_path / "code")
    async with running_gateway(tmp_path / "data", **options) as here, client(here.socket_url) as me:
        task_id = await begun(me)
        seen = me.frames[task_id]
        await here.kill()
    async with running_gateway(tmp_path / "data", **options) as here, client(here.socket_url) as me:
        await me.ask("subscribe", task_id=task_id)

        async def asks_again() -> bool:
            task = (await me.ask("get_task", task_id=task_id))["task"]
            return task["attempt"] == 2 and task["waiting_for"] is not None

        await eventually(asks_again, 30)
        await me.ask("send_input", task_id=task_id, data={"plant": "kale"}, key="plant")
        events = await me.until_ended(task_id)
        assert me.frames[task_id][: len(seen)] == seen
        check_one(me.frames[task_id])
        assert events[-1]["data"]["status"] == "completed"
        phases = [event["data"]["phase"] for event in events if event["event"] == "progress"]
        assert phases == ["dig", "plant", "sign"]
        assert await read(events[-1]["data"]["result"]["url"]) == "kale\n"


async def test_command_line_submits_and_answers(here: GatewayProcess) -> None:
    """A text and parameters go in, the question is told with how to answer it, and the result comes out."""
    command = (sys.executable, "-m", "gateway")
    env = os.environ | {"GATEWAY_URL": here.url}
    submit = ("submit", "--agent", "gardener", "--set", "rows=2", "by http://a//b")
    process = await asyncio.create_subprocess_exec(*command, *submit, stdout=PIPE, stderr=PIPE, env=env)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        lines = [(await process.stderr.readline()).decode() for _ in range(3)]
        assert lines[:2] == [
            "gateway: info: digging 2 rows\n",
            "gateway: it asks: What is to be planted?\n",
        ]
        *_, task_id, _key, key, _dots = lines[2].split()
        answer = await asyncio.create_subprocess_exec(
            *command, "input", task_id, "--key", key, '{"plant": "kale"}', env=env
        )
        assert await answer.wait() == 0
        out, _err = await process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["text"] == "by http://a//b"


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("x=nowhere:Nothing", "nowhere"),
        ("x=own_agents:Nothing", "Nothing"),
        ("x=own_agents:Bed", "AsyncBaseAgent"),
        ("x=leaving:Nothing", "SystemExit"),
        ("own_agents:Gardener", "name=package.module:Class"),
        ("sandbox=own_agents:Gardener", "choose another"),
    ],
)
async def test_agent_that_is_not_there_is_one_line(tmp_path: Path, named: str, why: str) -> None:
    """The gateway does not start without it, and says which and why."""
    process = await start_gateway(
        tmp_path / "data", "--no-local-sandbox", **authors(tmp_path / "code", named)
    )
    assert await ended_within(process, 30) == 1
    lines = (tmp_path / "data.log").read_text().splitlines()
    assert len(lines) == 1
    assert why in lines[0]
