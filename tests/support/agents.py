"""Runs without a gateway around them: the context that an agent sees, and agents that do what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from gateway.agents.runner import Agent, AgentHandle, Memory, RunContext
from gateway.events import Draft
from gateway.files import Batch, FileInfo, Stored
from gateway.tasks import TaskRecord
from sandbox_bridge.bridge import Bridge, BridgeSession
from tests.support.records import running


class Context:
    """A `RunContext` that keeps what its agent says; `on_draft` hears each event as it is said."""

    def __init__(
        self,
        *,
        bridge: Bridge | None,
        given: dict[str, Any],
        time_left_s: float = 300.0,
    ) -> None:
        self.task: TaskRecord = running()
        self.input = given
        self.bridge = bridge
        self.sandbox_session = self.task.task_id
        self.time_left_s = time_left_s
        self.cancel_wanted = asyncio.Event()
        self.on_output_durable: Callable[[int], None] = lambda _bytes: None
        self.on_draft: Callable[[Draft], object] = lambda _draft: None
        self.drafts: list[Draft] = []
        self.input_files: Callable[[], AsyncIterator[Stored]] | None = None
        self.kept: list[Batch] = []
        self.place_seq = 0
        self.place_file: str | None = None
        self.session: BridgeSession | None = None
        self.handle: asyncio.Future[AgentHandle] = asyncio.get_running_loop().create_future()
        self.result: dict[str, Any] | None = None
        self.error: Exception | None = None

    def cancel(self) -> None:
        """Wish it cancelled."""
        self.cancel_wanted.set()
        self.cancelling = asyncio.ensure_future(self._cancel())

    async def _cancel(self) -> None:
        await (await self.handle).cancel()

    def steered_by(self, handle: AgentHandle) -> None:
        """See `RunContext.steered_by`."""
        self.handle.set_result(handle)

    async def emit(self, *drafts: Draft, place_seq: int = 0) -> None:
        """See `RunContext.emit`; what was said counts as durable at once."""
        self.place_seq = place_seq
        for draft in drafts:
            self.drafts.append(draft)
            self.on_draft(draft)
            if draft.kind == "output":
                self.on_output_durable(len(draft.data["text"].encode()))

    @property
    def memory(self) -> Memory:
        """See `RunContext.memory`; there is none."""
        raise AssertionError("this agent needs a run that remembers")

    def emit_nowait(self, draft: Draft) -> bool:
        """See `RunContext.emit_nowait`."""
        self.drafts.append(draft)
        return True

    async def keep_files(self, batch: Batch, *, place_seq: int = 0, place_file: str | None = None) -> None:
        """See `RunContext.keep_files`; what is kept is durable at once."""
        self.place_seq, self.place_file = place_seq, place_file
        self.kept.append(batch)

    async def kept_files(self) -> list[FileInfo]:
        """See `RunContext.kept_files`."""
        return [file for batch in self.kept for file in batch.files]

    async def kept_pieces(self, number: int) -> AsyncIterator[bytes]:
        """See `RunContext.kept_pieces`."""
        for batch in self.kept:
            for piece in batch.pieces:
                if piece.number == number:
                    yield piece.data

    async def run(self, agent: Agent) -> None:
        """Let `agent` make one attempt, and note how it ended."""
        try:
            self.result = await agent.run(self)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    @property
    def kinds(self) -> list[str]:
        """The kinds of what was said."""
        return [draft.kind for draft in self.drafts]


class AnyInput(BaseModel):
    """Whatever a test gives."""

    model_config = ConfigDict(extra="allow")


def agent_that(
    does: Callable[[RunContext], Awaitable[dict[str, Any]]],
    *,
    name: str = "scripted",
    takes_sandbox: bool = False,
) -> Agent:
    """An agent whose run is `does`."""
    return Agent(
        name=name,
        input_model=AnyInput,
        check=lambda value: AnyInput.model_validate(value).model_dump(),
        run=does,
        want=lambda _input, _subject: None,
        takes_sandbox=takes_sandbox,
    )
