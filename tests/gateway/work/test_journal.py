"""The journal: what a run says becomes durable, in order, once, and not faster than the disk."""

import asyncio
from contextlib import closing
from sqlite3 import connect
from typing import Any

import pytest

from gateway.errors import LeaseLostError
from gateway.events import ENOUGH, JOINED_BYTES, MAX_DATA_BYTES, Draft
from gateway.run_now import run_now
from gateway.state.group_commit import REST_S
from gateway.state.sqlite.tables import SqliteTables
from gateway.task_changes import Change, lost
from gateway.tasks import Commit, Fence, TaskRecord
from gateway.work.journal import MAX_PENDING_BYTES, Journal
from tests.support.records import NOW_MS, fence_of, output
from tests.support.waiting import held_by_another, let_pass, turns
from tests.support.work import LOG, Bench

pytestmark = pytest.mark.looptime


def journal_of(bench: Bench, task: TaskRecord) -> Journal:
    """The journal of the task's owner."""
    return Journal(bench.store, fence_of(task), log=LOG)


async def texts(bench: Bench, task: TaskRecord) -> str:
    """All output in the log, joined."""
    return "".join(
        event["data"]["text"] for event in await bench.log(task.task_id) if event["event"] == "output"
    )


async def test_what_is_emitted_is_in_the_log_after_a_flush(bench: Bench) -> None:
    """Events come in the order of emitting, and `flush` returns when they are durable."""
    task = await bench.running()
    journal = journal_of(bench, task)
    for number in range(5):
        await journal.emit(Draft("log", {"level": "info", "message": str(number)}))
    await journal.flush()
    log = await bench.log(task.task_id)
    assert [event["data"]["message"] for event in log[2:]] == ["0", "1", "2", "3", "4"]
    assert journal.fence.last_seq == 7


async def test_first_event_waits_for_nothing(bench: Bench, looptime: Any) -> None:
    """A quiet task's event is written at once, without a timer."""
    task = await bench.running()
    journal = journal_of(bench, task)
    await journal.emit(output("x"))
    await journal.flush()
    assert looptime == 0
    assert await texts(bench, task) == "x"


async def test_output_that_gathers_during_a_write_is_one_event(bench: Bench) -> None:
    """What is said while the disk works is joined before it gets a number; nothing is lost by it."""
    task = await bench.running()
    journal = journal_of(bench, task)
    bench.disk.shut()
    for number in range(100):
        await journal.emit(output(f"{number}\n"))
        await let_pass(0.0001)
    bench.disk.open()
    await journal.flush()
    log = await bench.log(task.task_id)
    assert await texts(bench, task) == "".join(f"{number}\n" for number in range(100))
    assert [event["data"]["text"].count("\n") for event in log[2:]] == [1, 99]


async def test_only_what_nobody_waits_for_waits(bench: Bench, looptime: Any) -> None:
    """Right after others' events a task's output waits; its decisions, its questions and what is much do not."""
    task = await bench.running()
    journal = journal_of(bench, task)
    question = Draft("input.required", {"key": "k"})
    many = tuple(Draft("log", {"level": "info", "message": str(n)}) for n in range(ENOUGH))
    for hurried in (output("b"), question), (output("x" * (JOINED_BYTES + 1)),), many:
        await journal.emit(output("a"))
        await turns(20)
        before = journal.fence.last_seq
        await journal.emit(*hurried)
        await turns(20)
        assert journal.fence.last_seq == before + len(hurried)
    for text in "ab":
        await journal.emit(output(text))
        await turns(20)
    assert journal.fence.last_seq == 9 + ENOUGH
    await journal.decide(lambda _row: Change({}, [question]))
    assert (looptime, journal.fence.last_seq) == (0, 11 + ENOUGH)
    for text in "ab":
        await journal.emit(output(text))
        await turns(20)
    await let_pass(REST_S / 2)
    assert journal.fence.last_seq == 12 + ENOUGH
    await let_pass(REST_S)
    assert journal.fence.last_seq == 13 + ENOUGH


async def test_what_is_said_until_a_write_begins_goes_with_it(bench: Bench) -> None:
    """Also while the store is busy with somebody else's: it is two writes, however much comes between."""
    tasks = [await bench.running() for _ in range(2)]
    one, other = (journal_of(bench, task) for task in tasks)
    batches: list[int] = []
    bench.store.on_commit = lambda commit: batches.extend(len(batch.events) for batch in commit.events)
    bench.disk.shut()
    await other.emit(output("x"))
    await let_pass(0.01)
    for number in range(3):
        await one.emit(Draft("log", {"level": "info", "message": str(number)}))
        await let_pass(0.01)
    bench.disk.open()
    await one.flush()
    assert batches == [1, 3]


async def test_emit_waits_while_too_much_is_on_its_way(bench: Bench) -> None:
    """Whoever speaks faster than the disk writes is held back at 1 MiB, and goes on when it is written."""
    task = await bench.running()
    journal = journal_of(bench, task)
    bench.disk.shut()
    piece = "x" * 60_000
    said = 0
    speaking = asyncio.ensure_future(journal.emit(output(piece)))
    while not (await asyncio.wait([speaking], timeout=0.05))[1]:
        said += 1
        assert said < 100
        speaking = asyncio.ensure_future(journal.emit(output(piece)))
    # One piece is being written, a megabyte waits, and one more is in the hand of who speaks.
    assert MAX_PENDING_BYTES / 60_000 <= said + 1 <= MAX_PENDING_BYTES / 60_000 + 3
    bench.disk.open()
    await speaking
    await journal.flush()
    assert len(await texts(bench, task)) == 60_000 * (said + 1)


async def test_output_is_told_durable_when_it_is(bench: Bench) -> None:
    """The bytes of text are counted as UTF-8 and told only once they can be read from the log."""
    task = await bench.running()
    journal = journal_of(bench, task)
    told: list[int] = []
    journal.on_output_durable = told.append
    bench.disk.shut()
    await journal.emit(output("ä"))
    await let_pass(0.01)
    assert told == []
    bench.disk.open()
    await journal.flush()
    assert told == [2]
    await journal.emit(Draft("log", {"level": "info", "message": "x"}))
    await journal.emit(output("€"))
    await journal.flush()
    assert sum(told) == 5


async def test_newest_progress_is_the_rows(bench: Bench) -> None:
    """The row shows the last `progress`, whatever came after it."""
    task = await bench.running()
    journal = journal_of(bench, task)
    for number in range(3):
        await journal.emit(Draft("progress", {"phase": str(number), "status": "x", "progress": None}))
    await journal.emit(output("x"))
    await journal.flush()
    assert ((await bench.row(task.task_id)).progress or {})["phase"] == "2"


async def test_event_that_is_too_large_is_refused_alone(bench: Bench) -> None:
    """It is the speaker's mistake: a ValueError, and what came before and after is kept."""
    task = await bench.running()
    journal = journal_of(bench, task)
    await journal.emit(output("before "))
    with pytest.raises(ValueError, match="an event of"):
        await journal.emit(Draft("progress", {"phase": "x" * MAX_DATA_BYTES}))
    await journal.emit(output("after"))
    await journal.flush()
    assert await texts(bench, task) == "before after"


async def test_lost_lease_stops_the_journal(bench: Bench) -> None:
    """Once another owns the task nothing of the former's gets into the log, and it is told so."""
    task = await bench.running()
    journal = journal_of(bench, task)
    await bench.store.change_task(task.task_id, lambda row: lost(row, "instance_lost", now_ms=NOW_MS))
    await bench.claim(task.task_id, "instance-2")
    await journal.emit(output("zombie"))
    with pytest.raises(LeaseLostError):
        await journal.flush()
    with pytest.raises(LeaseLostError):
        await journal.emit(output("zombie"))
    await journal.aclose()
    assert await texts(bench, task) == ""


async def test_unreachable_store_is_waited_for(bench: Bench, looptime: Any) -> None:
    """While the store takes nothing, all is kept; when it does again, all is written once, in order."""
    task = await bench.running()
    journal = journal_of(bench, task)
    with held_by_another(bench.store):
        await journal.emit(output("one "))
        await let_pass(30)
        await journal.emit(output("two"))
        flushing = asyncio.ensure_future(journal.flush())
        await let_pass(30)
        assert not flushing.done()
    await flushing
    assert await texts(bench, task) == "one two"
    assert looptime < 63


async def test_aclose_ends_what_still_waits(bench: Bench) -> None:
    """A journal that is given up does not go on trying."""
    task = await bench.running()
    journal = journal_of(bench, task)
    with held_by_another(bench.store):
        await journal.emit(output("x"))
        await let_pass(5)
        await journal.aclose()
    await let_pass(5)
    assert await texts(bench, task) == ""


async def test_what_is_emitted_at_once_is_durable_at_once(bench: Bench) -> None:
    """Column values are in the same transaction as the events they go with, however many gather."""
    task = await bench.running()
    journal = journal_of(bench, task)
    found: list[tuple[int, int]] = []

    def look(commit: Commit) -> None:
        with closing(connect(bench.store._path)) as reader:
            row = run_now(SqliteTables(reader).get_task(task.task_id))
        assert row is not None
        found.append((sum(len(batch.events) for batch in commit.events), row.place_seq))

    bench.store.on_commit = look
    bench.disk.shut()
    for seq in (1, 2, 3):
        pair = output("a" * seq), Draft("log", {"level": "info", "message": "x"})
        await journal.emit(*pair, place_seq=seq)
        await let_pass(1)
    bench.disk.open()
    await journal.flush()
    assert found == [(2, 1), (4, 3)]


async def test_other_writes_wait_for_what_was_said_before(bench: Bench) -> None:
    """What is said after a write of another kind is durable after it."""
    task = await bench.running()
    journal = journal_of(bench, task)
    found: list[str] = []

    async def look(fence: Fence) -> None:
        assert fence == journal.fence
        found.append(await texts(bench, task))

    bench.disk.shut()
    await journal.emit(output("before "))
    looking = asyncio.ensure_future(journal.write(look))
    await let_pass(1)
    await journal.emit(output("after"))
    bench.disk.open()
    await looking
    await journal.flush()
    assert found == ["before "]
    assert await texts(bench, task) == "before after"
