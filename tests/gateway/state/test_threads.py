"""Work on other threads, and who waits for it."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from gateway.state.sqlite.threads import Threads
from tests.support.watchers import turns


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """One thread."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def test_work_is_known_until_its_end_though_its_asker_has_gone(executor: ThreadPoolExecutor) -> None:
    """What it uses is not to be closed under it; work that has not begun is done all the same."""
    threads, gate, done, wrong = Threads(), threading.Event(), list[int](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: wrong.append(context))

    def work(number: int) -> None:
        gate.wait(60)
        done.append(number)

    askers = [asyncio.create_task(threads.run(executor, partial(work, number))) for number in (1, 2)]
    await turns()
    for asker in askers:
        asker.cancel()
    await asyncio.wait(askers)
    settled = asyncio.create_task(threads.settle())
    await turns()
    assert not settled.done()
    gate.set()
    async with asyncio.timeout(60):
        await settled
    assert done == [1, 2]
    assert all(asker.cancelled() for asker in askers)
    assert not wrong


class _Error(Exception):
    pass


async def test_an_error_is_its_askers_and_stays_with_nobody(executor: ThreadPoolExecutor) -> None:
    """It has the frames that it went through: a circle with one of them would hold all that they know."""

    def work() -> None:
        raise _Error

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(_Error) as raised:
            await Threads().run(executor, work)
        kept = weakref.ref(raised.value)
        del raised
        await asyncio.get_running_loop().run_in_executor(executor, lambda: None)
        assert kept() is None
    finally:
        gc.enable()
