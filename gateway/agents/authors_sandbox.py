"""The sandbox of a run, in an author's words: `async for said in self.sandbox.stream("make", files={…})`."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from sandbox_bridge.errors import TaskFailed
from sandbox_bridge.protocol import FileContent
from sandbox_bridge.tool import AsyncWebContainerTool, WebContainerToolInput


class AuthorsSandbox:
    """Runs commands by a sandbox tool."""

    def __init__(self, tool: AsyncWebContainerTool) -> None:
        self._tool = tool

    async def run(self, *commands: str, files: Mapping[str, FileContent] | None = None) -> dict[str, Any]:
        """The sandbox's result. Raises what `AsyncWebContainerTool.run_async` does."""
        return await self._tool.run_async(_input(commands, files))

    async def stream(
        self, *commands: str, files: Mapping[str, FileContent] | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What they say as it comes: dicts with a `kind` (`output`, `command`, `server_ready` …).

        Raises `TaskFailed` where a command fails.
        """
        async with aclosing(self._tool.stream_execution(_input(commands, files))) as frames:
            async for frame in frames:
                if frame["type"] == "task_progress":
                    yield frame["progress"]
                elif frame["type"] == "task_error":
                    raise _failure(frame)


def _failure(frame: Mapping[str, Any]) -> TaskFailed:
    # A tool of somebody's own may say no more than the words.
    info = {"code": "command_failed", **frame.get("error_info", {})}
    return TaskFailed(message=str(frame.get("error")), **info)


def _input(commands: tuple[str, ...], files: Mapping[str, FileContent] | None) -> WebContainerToolInput:
    return WebContainerToolInput(files=dict(files or {}), commands=list(commands))
