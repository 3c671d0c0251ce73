"""How the gateway runs an agent that somebody wrote: one object a run, which talks to the run's context."""

import asyncio
import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_jsonable_python

from gateway.agents.base import AsyncBaseAgent, result_of
from gateway.agents.blocked_loop import timed
from gateway.agents.conversation import Conversation
from gateway.agents.run_tool import RunTool
from gateway.agents.runner import (
    Agent,
    NotYetError,
    PlaceLostError,
    RunContext,
    Sent,
    TaskCancelledError,
    TaskFailedError,
    UnableError,
)
from gateway.agents.running_time import RunningTime
from gateway.agents.schemas import schema_of, with_defaults
from gateway.agents.sites import AS_SAID, AsSaid, Sites
from gateway.agents.unwinding import Handlers
from gateway.errors import LeaseLostError
from gateway.tasks import Task
from gateway.validation import bad_frame
from sandbox_bridge.errors import SandboxBusy, SandboxLost

Make = Callable[[RunTool | None], AsyncBaseAgent]
Check = Callable[[dict[str, Any]], dict[str, Any]]
STAND_S: Final = 0.25
"""How long a wish to pause waits for an agent to stand still, before it is told of that later."""
END_S: Final = 5.0
"""How long an agent may take over its end; then it is left to itself, and what it says is heard by nobody."""
log = structlog.get_logger(__name__)


class TextInput(BaseModel):
    """What an agent takes that says nothing of its input: the task's text, and whatever it likes beside it."""

    model_config = ConfigDict(extra="allow")

    task: str


def hosted(name: str, kind: type[AsyncBaseAgent], *, sites: Sites | AsSaid = AS_SAID) -> Agent:
    """An agent of a class that was written on `AsyncBaseAgent`."""
    model = _input_model(name, kind)
    return Agent(
        name=name,
        input_model=model,
        check=functools.partial(_accepted, model, schema_of(model)),
        run=functools.partial(
            _run,
            functools.partial(_made, name, kind),
            functools.partial(_checked, model),
            functools.partial(_tool, sites) if takes_tool(kind) else None,
        ),
        want=lambda _input, _subject: None,
        takes_sandbox=takes_tool(kind),
        is_heavy=kind.is_heavy and not takes_tool(kind),
    )


def takes_tool(kind: type[AsyncBaseAgent]) -> bool:
    """Whether its constructor has a place for a sandbox tool."""
    return "sandbox_tool" in inspect.signature(kind).parameters


def _input_model(name: str, kind: type[AsyncBaseAgent]) -> type[BaseModel]:
    model = kind.input_model
    if model is None:
        return TextInput
    return model if "task" in model.model_fields else create_model(name, __base__=model, task=(str, ...))


def _accepted(model: type[BaseModel], schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The input that the model takes, with the defaults that an instance without the model would fill in, too."""
    _checked(model, given)
    filled: dict[str, Any] = with_defaults(schema, given)
    return filled


def _checked(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """The input with the model's defaults. As JSON, so that a date is a text, and a text no number."""
    return {
        **given,
        **model.model_validate_json(orjson.dumps(given), strict=True).model_dump(mode="json", by_alias=True),
    }


async def _run(
    make: Make, check: Check, give: Callable[[RunContext], RunTool] | None, context: RunContext
) -> dict[str, Any]:
    try:
        async with asyncio.timeout(context.time_left_s) as scope:
            conversation = Conversation(context, RunningTime(scope))
            task = _task_of(check, context)
            tool = give(context) if give is not None else None
            with _authors_errors(context):
                agent = make(tool)
                await _settled(agent, context, conversation)
            return await _steered(agent, tool, task, context, conversation)
    except TimeoutError:
        message = "The task ran longer than its timeout_s."
        raise TaskFailedError("timeout", message, exit_code=None, reason="timeout", result=None) from None


async def _settled(agent: AsyncBaseAgent, context: RunContext, conversation: Conversation) -> None:
    agent.hosted_by(conversation)
    newest = await context.memory.newest()
    if newest is not None:
        await agent.restore_from_checkpoint(newest)


def _task_of(check: Check, context: RunContext) -> Task:
    try:
        given = check(context.input)
    except ValidationError as error:
        # It was submitted where nobody has the model, or to another version of it.
        found = bad_frame(error, within=["input"])
        raise TaskFailedError("bad_input", found.message, errors=found.details["errors"]) from None
    row = context.task
    return Task(task_id=row.task_id, task=given["task"], input=given, traceparent=row.span)


def _made(name: str, kind: type[AsyncBaseAgent], tool: RunTool | None) -> AsyncBaseAgent:
    """One for this run; a constructor that must have a name is given the one that it was registered by."""
    parameters = inspect.signature(kind).parameters
    given: dict[str, Any] = {}
    if "name" in parameters and parameters["name"].default is inspect.Parameter.empty:
        given["name"] = name
    if tool is not None:
        given["sandbox_tool"] = tool
    agent = kind(**given)
    if not hasattr(agent, "name"):
        raise TypeError(f"{kind.__name__}.__init__ does not call super().__init__()")
    return agent


def _tool(sites: Sites | AsSaid, context: RunContext) -> RunTool:
    bridge = context.bridge
    if bridge is None:
        raise PlaceLostError("sandbox_lost", "the sandbox is gone")
    shown = sites.of(context, bridge)
    ceiling_s = bridge.info.max_timeout_s if bridge.info is not None else None
    session_id, timeout_s = context.sandbox_session, min(context.time_left_s, ceiling_s or math.inf)
    span = context.task.span
    return RunTool(bridge, shown, session_id=session_id, timeout_s=timeout_s, traceparent=span)


async def _steered(
    agent: AsyncBaseAgent, tool: RunTool | None, task: Task, context: RunContext, conversation: Conversation
) -> dict[str, Any]:
    work = asyncio.create_task(_worked(agent, task, context, conversation), name=f"agent {agent.name}")
    conversation.handle = HostedAgentHandle(agent, work, conversation)
    context.steered_by(conversation.handle)
    cancelled = asyncio.create_task(context.cancel_wanted.wait(), name="cancel")
    try:
        await asyncio.wait([work, cancelled], return_when=asyncio.FIRST_COMPLETED)
    finally:
        cancelled.cancel()
        await _ended(work, agent, tool)
    return _outcome(work, agent, context)


async def _worked(
    agent: AsyncBaseAgent, task: Task, context: RunContext, conversation: Conversation
) -> dict[str, Any]:
    # Translated here, within its asyncio task: one that ended by SystemExit would end the event loop.
    with _authors_errors(context):
        return await timed(
            _iterated(agent, task, conversation), functools.partial(_held_up, context.task.agent)
        )


def _held_up(agent: str, held_s: float) -> None:
    log.warning("an agent held up the event loop: nobody was served", agent=agent, held_s=round(held_s, 1))


async def _iterated(agent: AsyncBaseAgent, task: Task, conversation: Conversation) -> dict[str, Any]:
    """Tell what the agent yields as it comes; what it yields while an exception unwinds it is dropped."""
    last: Mapping[str, Any] = {}
    held: Mapping[str, Any] | None = None
    async with contextlib.aclosing(agent.stream_execution(task)) as steps:
        handlers = Handlers(steps)
        async for step in steps:
            if held is not None:
                await conversation.progress(held)
            # Whether it will be raised again is known when the agent goes on.
            held = step if handlers.are_any and handlers.is_unwinding() else None
            if held is None:
                await conversation.progress(step)
            last = step
    if held is not None:
        await conversation.progress(held)
    return result_of(to_jsonable_python(last))


async def _ended(work: "asyncio.Task[dict[str, Any]]", agent: AsyncBaseAgent, tool: RunTool | None) -> None:
    work.cancel()
    await asyncio.wait([work], timeout=END_S)
    if not work.done():
        log.error("an agent does not end; it is left to itself", agent=agent.name)
        if tool is not None:
            tool.end()
        work.add_done_callback(lambda done: done.cancelled() or done.exception())


def _outcome(
    work: "asyncio.Task[dict[str, Any]]", agent: AsyncBaseAgent, context: RunContext
) -> dict[str, Any]:
    if context.cancel_wanted.is_set():
        raise TaskCancelledError
    if work.cancelled():
        with _authors_errors(context):
            raise RuntimeError(f"agent {agent.name} cancelled itself")
    return work.result()


@contextlib.contextmanager
def _authors_errors(context: RunContext) -> Iterator[None]:
    """What somebody's code raises is the task's own failure, save where its place went."""
    try:
        yield
    except (LeaseLostError, PlaceLostError, asyncio.CancelledError):
        raise
    except SandboxBusy as error:
        raise PlaceLostError("busy", str(error)) from None
    except SandboxLost as error:
        raise PlaceLostError("sandbox_lost", str(error)) from None
    except BaseException as error:
        log.exception("the agent failed", agent=context.task.agent, task_id=context.task.task_id)
        message = f"{type(error).__name__} in agent {context.task.agent}"
        raise TaskFailedError("agent_error", message) from None


class HostedAgentHandle:
    """The `AgentHandle` on an agent that runs as `work`."""

    def __init__(
        self, agent: AsyncBaseAgent, work: "asyncio.Task[dict[str, Any]]", conversation: Conversation
    ) -> None:
        self._agent = agent
        self._work = work
        self._conversation = conversation

    async def pause(self) -> bool:
        """See `AgentHandle.pause`."""
        await self._agent.pause_execution()
        standing = asyncio.create_task(self._agent.stands_still(), name="standing")
        try:
            await asyncio.wait([standing, self._work], timeout=STAND_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            standing.cancel()
        if self._work.done():
            return False
        if not standing.done():
            raise NotYetError("the agent has not come to where it can stand still")
        self._conversation.stop_time("pause")
        return True

    async def resume(self) -> None:
        """See `AgentHandle.resume`."""
        self._conversation.start_time("pause")
        await self._agent.resume_execution()

    async def cancel(self) -> None:
        """See `AgentHandle.cancel`."""
        await self._agent.cancel_execution()

    @property
    def input_seq(self) -> int:
        """See `AgentHandle.input_seq`."""
        return self._conversation.heard

    @property
    def input_taken(self) -> int:
        """See `AgentHandle.input_taken`."""
        return self._conversation.heard

    @property
    def wants_input(self) -> bool:
        """See `AgentHandle.wants_input`."""
        return not self._work.done()

    def send_input(self, sent: Sent) -> None:
        """See `AgentHandle.send_input`."""
        self._conversation.hear(sent)

    def resize(self, cols: int, rows: int) -> None:  # noqa: ARG002 - the port's
        """See `AgentHandle.resize`."""
        raise UnableError("this agent has no terminal")
