"""The agent that makes a site: its phases and its checkpoints, with a sandbox tool that remembers what it was given."""

from typing import Any

import pytest

from gateway.agents.frontend_developer import AsyncFrontendDeveloperAgent
from gateway.tasks import Task
from sandbox_bridge.tool import AsyncWebContainerTool, WebContainerToolInput

TASK = Task(task="Create a page for my bakery with hours and a menu.", input={"theme": "book"})
STEPS = ["analysis_complete", "generation_complete", "build_complete", "deployment_complete"]
PHASES = ["analysis", "generation", "build", "deploy", "complete"]


class Server(AsyncWebContainerTool):
    """Serves nothing, and says that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.served: list[WebContainerToolInput] = []

    async def run_async(
        self, inputs: WebContainerToolInput, *, session_id: str | None = None
    ) -> dict[str, Any]:
        """See `AsyncWebContainerTool.run_async`."""
        self.served.append(inputs)
        return {"url": f"http://site/{len(self.served)}"}


class Kept:
    """A host that keeps checkpoints where a test sees them."""

    def __init__(self) -> None:
        self.checkpoints: list[dict[str, Any]] = []
        self.told: list[str] = []

    async def keep(self, _agent_name: str, data: Any) -> str:
        """See `Host.keep`."""
        self.checkpoints.append(dict(data))
        return str(len(self.checkpoints) - 1)

    async def load(self, checkpoint_id: str) -> dict[str, Any] | None:
        """See `Host.load`."""
        return self.checkpoints[int(checkpoint_id)]

    async def progress(self, data: Any) -> None:
        """See `Host.progress`."""
        self.told.append(data["status"])

    async def ask(self, key: str, prompt: str, schema: Any) -> Any:
        """See `Host.ask`."""
        raise AssertionError(key)

    def log(self, level: str, message: str) -> None:
        """See `Host.log`."""

    def stands_still(self) -> None:
        """See `Host.stands_still`."""


async def run(kept: Kept, since: int | None = None) -> tuple[list[str], dict[str, Any], Server]:
    """The phases of a run, from a checkpoint on, its last dict, and what it was served by."""
    server = Server()
    agent = AsyncFrontendDeveloperAgent(server)
    agent.hosted_by(kept)
    if since is not None:
        assert await agent.restore_from_checkpoint(str(since))
    steps = [step async for step in agent.stream_execution(TASK)]
    phases = list(dict.fromkeys(step["phase"] for step in steps))
    return phases, steps[-1], server


async def test_five_phases_make_a_site() -> None:
    """Each but the last ends in a checkpoint, and the site has pages, style and script."""
    kept = Kept()
    phases, last, server = await run(kept)
    assert phases == PHASES
    assert [data["phase"] for data in kept.checkpoints] == STEPS
    (given,) = server.served
    assert given.commands == ["serve"]
    assert set(given.files) == {"index.html", "style.css", "theme.css", "script.js", "icon.svg"}
    assert "<h1>My bakery</h1>" in str(given.files["index.html"])
    assert "Palatino" in str(given.files["theme.css"])
    assert (last["progress"], last["result"]["url"]) == (100, "http://site/1")
    assert last["result"]["artifacts"] == ["http://site/1"]


@pytest.mark.parametrize("since", range(4), ids=STEPS)
async def test_finished_phases_do_not_run_again(since: int) -> None:
    """From each checkpoint a later attempt does what is left; a site is always its own."""
    kept = Kept()
    await run(kept)
    phases, last, server = await run(kept, since)
    assert phases == PHASES[since + 1 :]
    assert last["result"]["url"] == "http://site/1"
    assert len(server.served) == 1


@pytest.mark.parametrize(
    ("since", "state", "words"),
    [
        (0, {"requirements": "A page for my florist."}, "<h1>My florist</h1>"),
        (1, {"html_content": "<h1>Other</h1>"}, "<h1>Other</h1>"),
    ],
)
async def test_other_state_gives_another_result(since: int, state: dict[str, Any], words: str) -> None:
    """What a fork sets is what the later phases use."""
    kept = Kept()
    await run(kept)
    kept.checkpoints[since] |= state
    _, _, server = await run(kept, since)
    assert words in str(server.served[0].files["index.html"])


async def test_missing_sandbox_is_found_before_any_work() -> None:
    """No phase begins."""
    agent = AsyncFrontendDeveloperAgent()
    with pytest.raises(ValueError, match="needs a sandbox"):
        await anext(agent.stream_execution(TASK))
