"""Requests of one connection: in order about one thing, beside each other about many."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.sessions.turns import Turns, Work
from tests.support.waiting import let_pass

pytestmark = pytest.mark.asyncio


class Bench:
    """Notes who works and who is through; each is let through by its own gate."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.over: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    def work(self, name: str) -> Work:
        """Work that goes on until it is let through."""
        self.gates[name] = asyncio.Event()

        async def run() -> None:
            self.begun.append(name)
            await self.gates[name].wait()
            self.over.append(name)

        return run

    async def let(self, name: str) -> None:
        """Let it through, and wait for what comes of it."""
        self.gates[name].set()
        await let_pass(0.01)


@asynccontextmanager
async def all_over() -> AsyncIterator[Turns]:
    """Turns that are all over behind the block, and none of which failed."""
    failures = list[BaseException]()
    turns = Turns(failures.append)
    yield turns
    await turns.settle(30)
    await let_pass(0.01)
    assert turns.is_idle
    assert failures == []


async def test_about_one_thing_each_waits_for_the_former() -> None:
    """However long the first takes, the second has not begun; the last one leaves nothing behind."""
    bench = Bench()
    async with all_over() as turns:
        for name in ("data", "more", "eof"):
            turns.begin("task", bench.work(name), name=name)
        await bench.let("eof")
        await bench.let("more")
        assert (bench.begun, bench.over) == (["data"], [])
        await bench.let("data")
    assert bench.over == ["data", "more", "eof"]
    assert repr(turns) == "<Turns of 0 things>"


async def test_about_another_thing_or_none_nobody_waits() -> None:
    """A request about another task, and one about none, begin at once."""
    bench = Bench()
    async with all_over() as turns:
        turns.begin("task", bench.work("held"), name="held")
        turns.begin("other", bench.work("other"), name="other")
        turns.begin(None, bench.work("submit"), name="submit")
        turns.begin(None, bench.work("another"), name="another")
        await let_pass(0.01)
        assert bench.begun == ["held", "other", "submit", "another"]
        for name in bench.begun:
            await bench.let(name)


async def test_who_comes_when_all_is_over_begins_at_once() -> None:
    """A turn that is over holds nobody up."""
    bench = Bench()
    async with all_over() as turns:
        turns.begin("task", bench.work("first"), name="first")
        await bench.let("first")
        turns.begin("task", bench.work("second"), name="second")
        await let_pass(0.01)
        assert bench.begun == ["first", "second"]
        await bench.let("second")


async def test_end_ends_all_and_what_fails_is_told() -> None:
    """Who waits, who has not begun and what was aside is cancelled; a bug is told, a cancel is none."""
    bench, failures = Bench(), list[BaseException]()
    turns = Turns(failures.append)

    async def never() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        raise KeyError("a bug")

    for name in ("runs", "waits"):
        turns.begin("task", bench.work(name), name=name)
    turns.aside(never(), name="aside")
    turns.begin(None, fail, name="fails")
    await let_pass(0.01)
    assert [type(error) for error in failures] == [KeyError]
    await turns.settle(0.01)
    await turns.aclose()
    assert turns.is_idle
    assert (bench.begun, bench.over, len(failures)) == (["runs"], [], 1)
