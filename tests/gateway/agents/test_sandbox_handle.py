"""Steering the agent `sandbox`: what it is told reaches its session, and what it says fits to that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.agents.runner import AgentHandle, Sent, TaskCancelledError, TaskFailedError, UnableError
from gateway.agents.sandbox import SANDBOX
from tests.support.agents import Context
from tests.support.bridges import connected
from tests.support.fake_sandbox import FakeSandbox
from tests.support.waiting import let_pass

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def attempt(
    fake: FakeSandbox, *commands: str, time_left_s: float = 300.0, **given: Any
) -> AsyncIterator[tuple[Context, AgentHandle]]:
    """An attempt under way inside the block, and the handle on it; at the end it is waited for."""
    async with fake, connected(fake.dial) as bridge:
        context = Context(bridge=bridge, given={"commands": list(commands), **given}, time_left_s=time_left_s)
        running = asyncio.ensure_future(context.run(SANDBOX))
        yield context, await context.handle
        await running


def text_of(context: Context) -> str:
    """What it printed."""
    return "".join(draft.data["text"] for draft in context.drafts if draft.kind == "output")


async def test_nothing_is_said_in_a_pause() -> None:
    """All that was said before has been emitted when it stands still; then it goes on where it was."""
    async with attempt(FakeSandbox(listen=False), "sleepy 20 100") as (context, handle):
        await let_pass(0.55)
        assert await handle.pause()
        said = text_of(context)
        await let_pass(1000)
        assert text_of(context) == said
        await handle.resume()
    assert context.result is not None
    assert text_of(context) == "".join(f"line {n}\n" for n in range(1, 21))


async def test_clock_stands_still_in_a_pause() -> None:
    """Running time counts, on both sides; a pause may be longer than the task may run."""
    async with attempt(FakeSandbox(listen=False), "sleepy 1000 100", time_left_s=10) as (context, handle):
        await let_pass(5)
        assert await handle.pause()
        await let_pass(10_000)
        await handle.resume()
        await let_pass(4)
        early = context.error
    late = context.error
    assert (early, isinstance(late, TaskFailedError) and late.code) == (None, "timeout")


async def test_cancel_reaches_what_stands_still() -> None:
    """It ends as cancelled."""
    async with attempt(FakeSandbox(listen=False), "sleepy 1000 100") as (context, handle):
        assert await handle.pause()
        context.cancel_wanted.set()
        await handle.cancel()
    assert isinstance(context.error, TaskCancelledError)


async def test_input_arrives_as_it_was_sent() -> None:
    """In order, and then its end."""
    async with attempt(FakeSandbox(listen=False), "cat", stdin=True) as (context, handle):
        handle.send_input(Sent("one\n", eof=False))
        handle.send_input(Sent("two\n", eof=False))
        handle.send_input(Sent("", eof=True))
    assert text_of(context) == "one\ntwo\n"


async def test_what_a_sandbox_can_not_is_said() -> None:
    """One that offers nothing neither stands still nor takes input; to go on it needs nothing."""
    fake = FakeSandbox(listen=False, capabilities=())
    async with attempt(fake, "sleepy 10 100") as (context, handle):
        with pytest.raises(UnableError):
            await handle.pause()
        with pytest.raises(UnableError):
            handle.send_input(Sent("x", eof=False))
        with pytest.raises(UnableError):
            handle.resize(80, 24)
        await handle.resume()
    assert context.result is not None


async def test_what_is_over_is_steered_in_vain() -> None:
    """It says that it does not stand still, and no more."""
    async with attempt(FakeSandbox(listen=False), "true") as (context, handle):
        await let_pass(10)
        assert context.result is not None
        assert not await handle.pause()
        await handle.resume()
        await handle.cancel()
        handle.send_input(Sent("x", eof=True))
