"""The flight recorder over a real store, whose disk does what it is told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.metrics import Metrics
from gateway.state.commit_metrics import CommitMetrics
from gateway.state.recorder import ENOUGH, GATHER_S, MAX_HELD, Recorder
from tests.support.waiting import held_by_another, let_pass
from tests.support.work import Bench, bench

pytestmark = pytest.mark.looptime


@pytest_asyncio.fixture
async def on_bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A store on virtual time."""
    async with bench(tmp_path) as made:
        yield made


def recorder_of(made: Bench, metrics: Metrics | None = None) -> Recorder:
    """A recorder of the bench's store."""
    return Recorder(made.store.notes, made.clock, metrics or Metrics(), instance="i")


async def test_notes_come_to_the_store_soon_and_many_at_once(on_bench: Bench) -> None:
    """Without being asked for, and hundreds share one transaction."""
    written: list[bool] = []
    on_bench.store.on_written = lambda _seconds, is_done: written.append(is_done)
    recorder = recorder_of(on_bench)
    keeping = asyncio.get_running_loop().create_task(recorder.run())
    for number in range(300):
        recorder.note("closed", about="s", subject="alice", code=number, reason=None)
    await let_pass(1)
    keeping.cancel()
    kept = await on_bench.store.notes.about("s", limit=1000)
    assert [note.data for note in kept] == [{"code": number} for number in range(300)]
    assert written == [True]


async def test_what_is_noted_during_a_write_waits_for_others_again(on_bench: Bench) -> None:
    """A crowd that comes and goes without end has its notes written together, not each while the last one is."""
    written: list[bool] = []
    recorder = recorder_of(on_bench)

    def note_another(_seconds: float, is_done: bool) -> None:
        written.append(is_done)
        recorder.note("closed", about="s")

    on_bench.store.on_written = note_another
    recorder.note("closed", about="s")
    async with asyncio.timeout(5):
        await recorder.keep()
    assert written == [True]


async def test_many_notes_do_not_wait(on_bench: Bench) -> None:
    """So many as would find no room soon are written at once, however long the last write took."""
    recorder = recorder_of(on_bench)
    keeping = asyncio.get_running_loop().create_task(recorder.run())
    for _ in range(ENOUGH):
        recorder.note("closed", about="s")
    await let_pass(GATHER_S / 2)
    keeping.cancel()
    assert len(await on_bench.store.notes.about("s", limit=ENOUGH)) == ENOUGH


async def test_notes_wait_for_a_store_that_is_away_and_are_bounded(on_bench: Bench) -> None:
    """They are told meanwhile, and kept when it is back; what finds no room is counted, and nothing grows."""
    metrics = Metrics()
    recorder = recorder_of(on_bench, metrics)
    with held_by_another(on_bench.store):
        for number in range(MAX_HELD + 7):
            recorder.note("closed", about=f"s{number}")
        assert [note.what for note in await recorder.about("s5")] == ["closed"]
    assert [note.what for note in await recorder.about("s5")] == ["closed"]
    assert await recorder.about(f"s{MAX_HELD + 1}") == []
    text = metrics.render().decode()
    assert 'gateway_notes_total{what="dropped"} 7.0' in text
    assert f'gateway_notes_total{{what="kept"}} {MAX_HELD:.1f}' in text


async def test_store_that_is_away_or_stands_still_is_noted_of_the_instance(on_bench: Bench) -> None:
    """From the first refusal to the first success, and a commit of more than a second."""
    recorder = recorder_of(on_bench)
    watch = CommitMetrics(Metrics(), recorder)
    for seconds, is_done in ((0.01, True), (1.5, True), (0.2, False), (0.1, False)):
        watch.written(seconds, is_done)
    await let_pass(2)
    watch.written(0.01, True)
    notes = await recorder.of_instances(0, on_bench.clock.now_ms())
    assert [(note.what, note.data) for note in notes] == [
        ("store_stalled", {"ms": 1500}),
        ("store_away", {}),
        ("store_back", {"away_ms": 2200}),
    ]
