"""Agents that were written to the guide alone run in a gateway: streamed, paused, cancelled, restored, served."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.history import check_one
from tests.support.web import read

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

HERE = "tests.support.guide_agents"
ENV = {"GATEWAY_AGENTS": f"baker={HERE}:Baker,ferry={HERE}:Ferry,clerk={HERE}:Clerk"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway that has them."""
    async with running_gateway(tmp_path_factory.mktemp("guide") / "data", env=ENV) as started:
        yield started


async def midway(me: Client, file: Path) -> str:
    """A ferry's task, once it waits for the file."""
    task_id = await me.submit(agent="ferry", input={"task": "over", "file": str(file)})
    await me.until_event(task_id, "checkpoint", step_name="crossed 1")
    return task_id


def told(events: list[dict[str, Any]], kind: str, key: str) -> list[Any]:
    """What events of a kind say."""
    return [event["data"].get(key) for event in events if event["event"] == kind]


async def test_agent_of_few_words_streams_and_gives_what_becomes_json(here: GatewayProcess) -> None:
    """No constructor of its own, no context, enums, sets and models: as JSON it is all there."""
    async with client(here.socket_url) as me:
        events = await me.until_ended(await me.submit(agent="baker", input={"task": "rye"}))
    assert told(events, "progress", "progress") == [0, 25, 50, 75, 100]
    assert told(events, "progress", "kinds")[:4] == [["rye"]] * 4
    assert told(events, "progress", "status")[:4] == ["running"] * 4
    loaf = events[-1]["data"]["result"]["loaf"]
    assert (loaf["name"], events[-1]["data"]["status"]) == ("rye", "completed")


async def test_class_of_the_time_before_needs_no_wrapper(here: GatewayProcess) -> None:
    """A class with a synchronous `execute_task` is wrapped when it is registered."""
    async with client(here.socket_url) as me:
        events = await me.until_ended(await me.submit(agent="clerk", input={"task": "stamp"}))
    assert events[-1]["data"]["result"] == {"status": "completed", "message": "STAMP"}


async def test_agent_pauses_goes_on_and_serves(here: GatewayProcess, tmp_path: Path) -> None:
    """A pause holds it at its gate; resumed it crosses, and what its second session serves stands."""
    async with client(here.socket_url) as me:
        task_id = await midway(me, tmp_path / "file")
        await me.ask("pause_task", task_id=task_id)
        await me.until_event(task_id, "status", status="paused")
        (tmp_path / "file").touch()
        await me.ask("resume_task", task_id=task_id)
        events = await me.until_ended(task_id)
        result = events[-1]["data"]["result"]
        assert (result["last"], result["healthy"]) == ("task_completed", True)
        assert await read(result["url"]) == "shore\n"
    assert told(events, "status", "status") == ["pending", "running", "paused", "running", "completed"]
    assert told(events, "checkpoint", "step_name") == [f"crossed {step}" for step in range(4)]


@pytest.mark.parametrize("paused", [False, True])
async def test_agent_is_cancelled_while_it_waits_or_stands_still(
    here: GatewayProcess, tmp_path: Path, paused: bool
) -> None:
    """What it keeps while it unwinds is kept, what it yields then is not told."""
    async with client(here.socket_url) as me:
        task_id = await midway(me, tmp_path / "file")
        if paused:
            await me.ask("pause_task", task_id=task_id)
            await me.until_event(task_id, "status", status="paused")
        await me.ask("cancel_task", task_id=task_id)
        events = await me.until_ended(task_id)
    assert events[-1]["data"]["status"] == "cancelled"
    assert told(events, "progress", "phase") == ["step 0", "step 1"]
    assert told(events, "checkpoint", "step_name")[-1] == "turned back"


async def test_agent_goes_on_from_its_checkpoint_after_a_kill(tmp_path: Path) -> None:
    """By what is in `_execution_context` before it begins: no step is made twice."""
    async with running_gateway(tmp_path / "data", env=ENV) as first, client(first.socket_url) as me:
        task_id = await midway(me, tmp_path / "file")
        await first.kill()
    (tmp_path / "file").touch()
    async with running_gateway(tmp_path / "data", env=ENV) as second, client(second.socket_url) as me:
        await me.ask("subscribe", task_id=task_id)
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
    assert events[-1]["data"]["status"] == "completed"
    assert told(events, "progress", "phase") == ["step 0", "step 1", "step 2", "step 3", "complete"]
