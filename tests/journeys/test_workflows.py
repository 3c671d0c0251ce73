"""Workflows from end to end: what agents leave in them, changes by version, and going back, in place or in a fork."""

import asyncio
import json
import shutil
import sys
import uuid
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import pytest_asyncio

import gateway
from gateway.client.errors import RequestError
from gateway.client.session import connect
from tests.support import phased_agents
from tests.support.gateway import Client, GatewayProcess, client, running_gateway

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway that has the agent."""
    folder = tmp_path_factory.mktemp("painter")
    shutil.copy(phased_agents.__file__, folder)
    env = {
        "GATEWAY_AGENTS": "painter=phased_agents:Painter",
        "PYTHONPATH": str(Path(gateway.__file__).parent.parent),
    }
    under = ("env", "-C", str(folder))
    async with running_gateway(
        folder / "data", env=env, under=under, program=("-P", "-m", "gateway")
    ) as started:
        yield started


async def ask(
    here: GatewayProcess, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer; its `ETag` is in the JSON, too."""

    def asked() -> tuple[int, dict[str, Any]]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        request = Request(  # noqa: S310 - our own
            f"{here.url}/v1/workflows{path}",
            data,
            given | {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, json.load(answer) | {"etag": answer.headers["ETag"]}
        except HTTPError as error:
            return error.code, json.load(error)

    return await asyncio.to_thread(asked)


async def painted(me: Client) -> dict[str, Any]:
    """A task that has painted in red."""
    task_id = await me.submit(agent="painter", input={"task": "a house"}, max_attempts=7, labels={"k": "v"})
    assert (await me.until_ended(task_id))[-1]["data"]["result"] == {
        "colour": "red",
        "ran": ["plan", "build", "ship"],
    }
    task: dict[str, Any] = (await me.ask("get_task", task_id=task_id))["task"]
    return task


async def result_of(me: Client, task: dict[str, Any]) -> dict[str, Any]:
    """How a task ends."""
    await me.ask("subscribe", task_id=task["task_id"])
    ended = (await me.until_ended(task["task_id"]))[-1]["data"]
    result: dict[str, Any] = ended["result"]
    return result


async def test_workflow_tells_what_its_task_has_come_to(here: GatewayProcess) -> None:
    """Steps, the agent's state and its checkpoints are there, by socket and by HTTP; lists are without large data."""
    async with client(here.socket_url) as me:
        task = await painted(me)
        flow = (await me.ask("get_workflow", workflow_id=task["workflow_id"]))["workflow"]
        page = await me.ask("list_checkpoints", workflow_id=task["workflow_id"], limit=2)
        rest = await me.ask("list_checkpoints", workflow_id=task["workflow_id"], cursor=page["cursor"])
        listed = (await me.ask("list_workflows", session_id=task["session_id"]))["workflows"]
    assert (flow["status"], flow["current_step"]) == ("completed", "ship")
    assert flow["step_history"] == ["initialized", "plan", "build"]
    assert flow["agent_states"]["painter"]["phase"] == "ship"
    steps = [one["step_name"] for one in (*page["checkpoints"], *rest["checkpoints"])]
    assert (steps, rest["cursor"]) == (["plan", "build", "ship"], None)
    assert {one["checkpoint_data"] for one in page["checkpoints"]} == {None}
    _, whole = await ask(here, "GET", f"/{task['workflow_id']}/checkpoints?limit=2")
    assert [one["checkpoint_data"]["phase"] for one in whole["checkpoints"]] == ["plan", "build"]
    assert [one | {"checkpoint_data": None} for one in whole["checkpoints"]] == page["checkpoints"]
    assert {one["task_id"] for one in page["checkpoints"]} == {task["task_id"]}
    assert listed == [flow | {"agent_states": None}]
    status, over_http = await ask(here, "GET", f"/{task['workflow_id']}")
    assert (status, over_http["workflow"]) == (200, flow)


async def test_fork_gives_a_second_result(here: GatewayProcess) -> None:
    """From a step and with other state another result comes; phases that are done don't run, the original stays."""
    async with client(here.socket_url) as me:
        task = await painted(me)
        flow = task["workflow_id"]
        before = (await me.ask("get_workflow", workflow_id=flow))["workflow"]
        made = await me.ask(
            "recover_workflow", workflow_id=flow, target_step="build", fork=True, state={"colour": "blue"}
        )
        assert await result_of(me, made["task"]) == {"colour": "blue", "ran": ["ship"]}
        fork = (await me.ask("get_workflow", workflow_id=made["workflow"]["workflow_id"]))["workflow"]
        assert (await me.ask("get_workflow", workflow_id=flow))["workflow"] == before
        (first, _second) = (await me.ask("list_checkpoints", workflow_id=fork["workflow_id"]))["checkpoints"]
        original = (await me.ask("get_task", task_id=task["task_id"]))["task"]
    assert fork["forked_from"] == flow
    assert (fork["status"], fork["agent_states"]["painter"]["colour"]) == ("completed", "blue")
    assert first["metadata"]["restored_from"] != first["checkpoint_id"]
    assert original == task
    same = ("agent", "labels", "max_attempts", "session_id", "subject", "timeout_s")
    assert [made["task"][name] for name in same] == [task[name] for name in same]


async def test_recovery_in_place_goes_on_in_the_workflow(here: GatewayProcess) -> None:
    """By id, by step or from the newest; while a task of it runs, only a fork is possible."""
    async with client(here.socket_url) as me:
        flow = (await painted(me))["workflow_id"]
        first = (await me.ask("list_checkpoints", workflow_id=flow))["checkpoints"][0]["checkpoint_id"]
        again = await me.ask("recover_workflow", workflow_id=flow, checkpoint_id=first)
        assert again["workflow"]["current_step"] == "plan"
        assert again["task"]["workflow_id"] == flow
        assert await result_of(me, again["task"]) == {"colour": "red", "ran": ["build", "ship"]}
        status, last = await ask(here, "POST", f"/{flow}/recover", {"state": {"colour": "green"}})
        assert status == 201
        assert await result_of(me, last["task"]) == {"colour": "green", "ran": []}
        asking = await me.submit(agent="painter", input={"task": "x", "ask": True}, workflow_id=flow)
        await me.until_event(asking, "input_requested")
        status, problem = await ask(here, "POST", f"/{flow}/recover", {})
        assert (status, problem["code"], problem["details"]["status"]) == (409, "invalid_state", "active")
        status, _ = await ask(here, "POST", f"/{flow}/recover", {"fork": True})
        assert status == 201
        await me.ask("cancel_task", task_id=asking)
        await me.until_ended(asking)
        for wrong in ({"checkpoint_id": "nothing"}, {"target_step": "dream"}):
            assert (await ask(here, "POST", f"/{flow}/recover", wrong))[1]["code"] == "checkpoint_not_found"
        nowhere = await ask(here, "POST", f"/{uuid.uuid4()}/recover", {})
        assert (nowhere[0], nowhere[1]["code"]) == (404, "workflow_not_found")


async def test_workflow_of_ones_own_is_changed_by_version(here: GatewayProcess) -> None:
    """Objects are merged, null takes away; with another version than its own nothing is written, and that is 412."""
    body = {"initial_step": "draft", "initial_data": {"a": 1, "b": {"c": 2, "d": 3}}, "metadata": {"m": 1}}
    status, made = await ask(here, "POST", "", body)
    flow, path = made["workflow"], f"/{made['workflow']['workflow_id']}"
    assert (status, flow["current_step"], flow["status"], made["etag"]) == (201, "draft", "active", '"1"')
    patch = {
        "current_step": "review",
        "state_data": {"a": None, "b": {"c": 9}},
        "agent_states": {"x": {"n": 1}},
    }
    status, after = await ask(here, "PATCH", path, patch, If_Match='"1"')
    assert (status, after["etag"]) == (200, '"2"')
    assert after["workflow"] | {"updated_at": None} == flow | {
        "current_step": "review",
        "step_history": ["draft"],
        "state_data": {"b": {"c": 9, "d": 3}},
        "agent_states": {"x": {"n": 1}},
        "version": 2,
        "updated_at": None,
    }
    for stale in ('"1"', "1", '"x"', '"3", "1"'):
        status, problem = await ask(here, "PATCH", path, patch, If_Match=stale)
        assert (status, problem["code"], problem["details"]["version"]) == (412, "invalid_state", 2)
    for good in ("*", '"2", "3"'):
        assert (await ask(here, "PATCH", path, {"metadata": {"n": 2}}, If_Match=good))[0] == 200
    assert (await ask(here, "PATCH", path, {"status": "completed"}))[1]["workflow"]["status"] == "completed"
    status, problem = await ask(here, "PATCH", path, {"current_step": "again"})
    assert (status, problem["code"], problem["details"]["status"]) == (409, "invalid_state", "completed")
    status, problem = await ask(here, "POST", f"{path}/recover", {})
    assert (status, problem["code"]) == (404, "checkpoint_not_found")


async def gateway_command(here: GatewayProcess, *arguments: str) -> list[str]:
    """The lines that a command prints, which goes well."""
    program = (sys.executable, "-m", "gateway", *arguments, "--url", here.url)
    process = await asyncio.create_subprocess_exec(*program, stdout=PIPE)
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().splitlines()


async def test_command_line_goes_back(here: GatewayProcess) -> None:
    """Workflows and checkpoints are listed, one line each; recover prints the id of the task that goes on."""
    async with client(here.socket_url) as me:
        flow = (await painted(me))["workflow_id"]
        listed = [line.split() for line in await gateway_command(here, "workflows")]
        assert [flow, "completed", "ship", "a", "house"] in [cells[:3] + cells[4:] for cells in listed]
        lines = [line.split() for line in await gateway_command(here, "checkpoints", flow)]
        assert [cells[2:] for cells in lines] == [["painter", step] for step in phased_agents.PHASES]
        options = ("--checkpoint", lines[0][0], "--fork", "--state", '{"colour":"blue"}')
        (task_id,) = await gateway_command(here, "recover", flow, *options)
        assert await result_of(me, {"task_id": task_id}) == {"colour": "blue", "ran": ["build", "ship"]}
        assert flow not in "".join(await gateway_command(here, "workflows", "--status", "failed"))
        (shown,) = await gateway_command(here, "workflows", flow)
        assert json.loads(shown)["step_history"] == ["initialized", *phased_agents.PHASES[:-1]]
        told = [json.loads(line) for line in await gateway_command(here, "checkpoints", flow, "--json")]
        assert [one["step_name"] for one in told] == [*phased_agents.PHASES]
        (made,) = await gateway_command(here, "recover", flow, "--step", "plan", "--json")
        assert json.loads(made)["workflow"]["workflow_id"] == flow


async def test_python_client_goes_back(here: GatewayProcess) -> None:
    """It begins, reads, changes by version, lists, and recovers workflows; large state comes whole."""
    async with client(here.socket_url) as me:
        flow = (await painted(me))["workflow_id"]
    async with connect(here.url) as gateway:
        flows = gateway.workflows
        made = await flows.create(initial_step="plan", initial_data={"x": "x" * (1 << 20)})
        assert (await flows.get(made["workflow_id"]))["state_data"] == made["state_data"]
        changed = await flows.update(made["workflow_id"], version=1, state_data={"x": "y"}, status="paused")
        assert (changed["version"], changed["state_data"]) == (2, {"x": "y"})
        with pytest.raises(RequestError, match="version 2"):
            await flows.update(made["workflow_id"], version=1, current_step="late")
        page = await flows.list(status="paused")
        assert [one["workflow_id"] for one in page["workflows"]] == [made["workflow_id"]]
        first = await anext(flows.checkpoints(flow))
        state = {"colour": "blue"}
        fork, task = await flows.recover(flow, checkpoint_id=first["checkpoint_id"], fork=True, state=state)
        assert fork["forked_from"] == flow
        assert await task.result() == {"colour": "blue", "ran": ["build", "ship"]}
        with pytest.raises(RequestError, match="checkpoint"):
            await flows.recover(flow, target_step="nowhere")


async def test_large_state_comes_by_http_whole(here: GatewayProcess) -> None:
    """What does not fit a frame is too_large on the socket; beyond 8 MiB nobody may send it."""
    _, made = await ask(here, "POST", "", {"initial_data": {"x": "x" * (1 << 20)}})
    flow = made["workflow"]["workflow_id"]
    async with client(here.socket_url) as me:
        assert (await me.ask("get_workflow", workflow_id=flow))["code"] == "too_large"
        page = (await me.ask("list_workflows", limit=1))["workflows"]
        assert [(one["workflow_id"], one["state_data"]) for one in page] == [(flow, None)]
    assert len((await ask(here, "GET", f"/{flow}"))[1]["workflow"]["state_data"]["x"]) == 1 << 20
    status, problem = await ask(here, "POST", "", {"initial_data": {"x": "x" * (9 << 20)}})
    assert (status, problem["code"]) == (413, "too_large")
