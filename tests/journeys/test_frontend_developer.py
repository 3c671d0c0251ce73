"""A site from a text, from end to end, also where the gateway is killed in each phase."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.history import check_one
from tests.support.web import read

pytestmark = pytest.mark.journey

TEXT = "Create a page for my <b>bakery</b> with opening hours and a menu."
PHASES = ("analysis", "generation", "build", "deploy", "complete")
STEPS = ["analysis_complete", "generation_complete", "build_complete", "deployment_complete"]


async def check_site(result: dict[str, Any]) -> None:
    """Its files are there, and the text is text."""
    page = await read(result["url"])
    assert "<h1>My &lt;b&gt;bakery&lt;/b&gt;</h1>" in page
    assert "<h2>Opening hours</h2>" in page
    for name in result["files"]:
        assert await read(result["url"] + name)


def said(events: list[dict[str, Any]], kind: str, key: str) -> list[Any]:
    """One value of each event of a kind."""
    return [event["data"][key] for event in events if event["event"] == kind]


async def test_text_becomes_a_site(gateway: GatewayProcess) -> None:
    """It is served when the task has ended; each phase was told, and left its checkpoint."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(agent="frontend_developer", input={"task": TEXT, "theme": "night"})
        events = await me.until_ended(task_id)
        result = events[-1]["data"]["result"]
        await check_site(result)
        assert list(dict.fromkeys(said(events, "progress", "phase"))) == list(PHASES)
        assert said(events, "checkpoint", "step_name") == STEPS
        refused = await me.ask(
            "submit_task", agent="frontend_developer", input={"task": TEXT, "theme": "none"}
        )
        assert refused["details"]["errors"][0]["loc"] == ["input", "theme"]


async def test_killed_in_each_phase_it_finishes_what_is_left(tmp_path: Path) -> None:
    """No finished phase runs again, however often its gateway dies, and the site stands at the end."""
    hold = tmp_path / "hold"
    given = {"task": TEXT, "hold": str(hold)}
    env = {"GATEWAY_AGENTS": "site=tests.support.held_site:HeldSite"}
    task_id, frames = "", [""]
    for phase in (*PHASES, ""):
        hold.write_text(phase)
        async with running_gateway(tmp_path / "data", env=env) as gateway, client(gateway.socket_url) as me:
            if not task_id:
                task_id = await me.submit(agent="site", input=given, mode="background", max_attempts=9)
            await me.ask("subscribe", task_id=task_id)
            await (me.until_event(task_id, "progress", phase=phase) if phase else me.until_ended(task_id))
            frames = me.frames[task_id]
            if phase:
                await gateway.kill()
            else:
                events = me.events[task_id]
                await check_site(events[-1]["data"]["result"])
    check_one(frames)
    assert events[-1]["data"]["attempt"] == len(PHASES) + 1
    assert said(events, "checkpoint", "step_name") == STEPS
    statuses = said(events, "progress", "status")
    begun = ("analyzing_requirements", "generating_components", "building_ui", "deploying", "completing")
    assert [statuses.count(status) for status in begun] == [2] * 5
    assert [statuses.count(status) for status in ("html_generated", "completed")] == [1, 1]
