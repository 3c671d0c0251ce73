"""The store that ends with its process: what is left of it, and of those who died."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailableError
from gateway.state.sqlite.in_memory import MemoryStore
from tests.support.inline import InlineExecutor
from tests.support.records import FakeTime, new_task

DIES = """
import asyncio, os, sys
from pathlib import Path
from gateway.clock import Clock
from gateway.state.sqlite.in_memory import MemoryStore
from tests.support.inline import InlineExecutor
store = MemoryStore(Path(sys.argv[1]), clock=Clock(), writer=InlineExecutor(), readers=InlineExecutor())
asyncio.run(store.open())
print("open", flush=True)
sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    """What is in it."""
    return [path.name for path in folder.iterdir()]


def store_in(parent: Path) -> MemoryStore:
    """One that is not open yet."""
    executor = InlineExecutor()
    return MemoryStore(parent, clock=FakeTime().clock, writer=executor, readers=executor)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has a store open in `tmp_path`."""
    command = [sys.executable, "-c", DIES, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


async def test_each_begins_empty_and_leaves_nothing(tmp_path: Path) -> None:
    """Two that are open at once know nothing of each other, and when they close their files are gone."""
    one, two = store_in(tmp_path), store_in(tmp_path)
    await one.open()
    await two.open()
    task = (await one.create_task(new_task())).task
    assert (await one.get_task(task.task_id)) == task
    assert await two.get_task(task.task_id) is None
    await one.aclose()
    await two.aclose()
    assert not names(tmp_path)


async def test_what_a_dead_process_has_left_goes_and_a_living_ones_stays(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    """After kill -9 the next to open takes its files away; before that they are left alone."""
    its = tmp_path / names(tmp_path)[0]
    beside = store_in(tmp_path)
    await beside.open()
    assert (its / "gateway.db").exists()
    await beside.aclose()
    other.kill()
    other.wait()
    after = store_in(tmp_path)
    await after.open()
    assert not its.exists()
    await after.aclose()


async def test_folder_that_cannot_be_had_is_unavailable(tmp_path: Path) -> None:
    """Where a file is in the way, the error names the place."""
    (tmp_path / "memory").write_text("")
    store = store_in(tmp_path / "memory")
    with pytest.raises(StoreUnavailableError, match="memory"):
        await store.open()
    await store.aclose()
