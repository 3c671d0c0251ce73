"""The agent that makes a small site from a text, in five phases, and puts it up.

After each phase a checkpoint holds all that the later ones need, under the guide's names: a later attempt, or a
fork with other `state`, begins with the first phase that is not finished.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pydantic import BaseModel, Field

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.site_pages import Theme, around, page
from gateway.agents.site_text import Requirements, analysed
from gateway.tasks import Task
from sandbox_bridge.tool import AsyncWebContainerTool, WebContainerToolInput

NAME: Final = "frontend_developer"
_KEPT: Final = ("requirements", "html_content", "files")
State = dict[str, Any]


class SiteInput(BaseModel):
    """What a task has beside its text."""

    theme: Theme = Field("plain", description="How it looks")


@dataclass(frozen=True, slots=True)
class _Phase:
    name: str
    status: str
    progress: int
    done: str
    """The step's name: its checkpoint's `phase`."""
    work: Callable[[Task, State], Awaitable[State]]
    """What it adds to the state."""
    after: Mapping[str, Any] | None = None
    """What is told when that is there, too."""


class AsyncFrontendDeveloperAgent(AsyncBaseAgent):
    """Makes a site of several files from the task's text, and serves it from the sandbox."""

    input_model: ClassVar[type[BaseModel] | None] = SiteInput

    def __init__(self, sandbox_tool: AsyncWebContainerTool | None = None) -> None:
        super().__init__("AsyncFrontendDeveloperAgent", sandbox_tool)
        # Where this very run has put the site up.
        self._served: str | None = None
        self._is_served = False

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """See `AsyncBaseAgent.stream_execution`. Raises ValueError where it has no sandbox, before any work."""
        if self.sandbox_tool is None:
            raise ValueError("this agent needs a sandbox")
        async with self.execution_context(task) as context:
            state: State = {key: context[key] for key in _KEPT if key in context}
            for phase in self._phases_after(context.get("phase")):
                yield {"phase": phase.name, "status": phase.status, "progress": phase.progress}
                await self._check_cancellation()
                await self._check_pause()
                state |= await phase.work(task, state)
                if phase.after is not None:
                    yield {"phase": phase.name, **phase.after}
                await self.create_checkpoint({"phase": phase.done, **state})
            yield {"phase": "complete", "status": "completing", "progress": 99}
            await self._check_pause()
            yield {
                "phase": "complete",
                "status": "completed",
                "progress": 100,
                "result": await self._result(state),
            }

    def _phases_after(self, step: Any) -> Sequence[_Phase]:
        """Those behind the checkpoint of that name; without one, all."""
        phases = (
            _Phase("analysis", "analyzing_requirements", 10, "analysis_complete", self._analyse),
            _Phase(
                "generation",
                "generating_components",
                30,
                "generation_complete",
                self._generate,
                {"status": "html_generated", "progress": 50},
            ),
            _Phase("build", "building_ui", 70, "build_complete", self._build),
            _Phase("deploy", "deploying", 90, "deployment_complete", self._deploy),
        )
        steps = [phase.done for phase in phases]
        return phases[steps.index(step) + 1 if step in steps else 0 :]

    async def _analyse(self, task: Task, _state: State) -> State:
        return {"requirements": analysed(task.task).model_dump(mode="json")}

    async def _generate(self, _task: Task, state: State) -> State:
        return {"html_content": page(_requirements(state["requirements"]))}

    async def _build(self, task: Task, state: State) -> State:
        theme = SiteInput.model_validate(task.input).theme
        return {"files": {"index.html": state["html_content"], **around(theme)}}

    async def _deploy(self, _task: Task, state: State) -> State:
        return {"url": await self._serve(state["files"])}

    async def _serve(self, files: Mapping[str, str]) -> str | None:
        assert self.sandbox_tool is not None  # noqa: S101 -- seen to before any work
        put_up = WebContainerToolInput(files=dict(files), commands=["serve"])
        result = await self.sandbox_tool.run_async(put_up)
        self._served, self._is_served = result.get("url"), True
        return self._served

    async def _result(self, state: State) -> dict[str, Any]:
        """A site goes with the attempt that put it up: one that goes on from there puts it up again."""
        url = self._served if self._is_served else await self._serve(state["files"])
        return {
            "status": "completed",
            "message": f"The site is at {url}" if url else "The site is served where nobody can open it",
            "url": url,
            "artifacts": [url] if url else [],
            "files": [*state["files"]],
        }


def _requirements(kept: Any) -> Requirements:
    """As the first phase left them; a fork may have set a mere text instead."""
    return analysed(kept) if isinstance(kept, str) else Requirements.model_validate(kept)
