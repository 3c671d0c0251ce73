"""The sandbox in an author's words."""

import pytest

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.migration import AsyncMigrationWrapper
from sandbox_bridge.errors import TaskFailed
from sandbox_bridge.tool import AsyncWebContainerTool
from tests.support.fake_sandbox import FakeSandbox


def agent_with(tool: AsyncWebContainerTool) -> AsyncBaseAgent:
    """An agent that was given a tool."""
    agent = AsyncMigrationWrapper(object())
    agent.sandbox_tool = tool
    return agent


async def test_stream_is_what_the_commands_say() -> None:
    """As it comes; what fails raises with its exit code, behind what was said before."""
    said = ""
    async with FakeSandbox() as fake, AsyncWebContainerTool(fake.url) as tool:
        sandbox = agent_with(tool).sandbox
        with pytest.raises(TaskFailed) as caught:
            async for one in sandbox.stream("cat page", "exit 4", files={"page": "hello"}):
                said += one.get("text", "")
        assert (await sandbox.run("cat page", files={"page": "x"}))["commands"][0]["stdout"] == "x"
    assert said == "hello"
    assert caught.value.exit_code == 4


def test_agent_without_a_tool_has_no_sandbox() -> None:
    """It is told so."""
    with pytest.raises(RuntimeError, match="no sandbox"):
        _ = AsyncMigrationWrapper(object()).sandbox
