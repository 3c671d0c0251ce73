"""A task's reader: every event once and in order, whatever happens to the sockets."""

import asyncio

import pytest

from gateway.client import task as task_module
from gateway.client.errors import ClientError, RequestError, TaskCancelledError, TaskFailedError
from gateway.client.task import TaskHandle
from tests.gateway.client.scripted_gateway import ScriptedGateway, failure, task
from tests.gateway.client.test_session import met


async def seqs(handle: TaskHandle, count: int | None = None) -> list[int]:
    """The seqs of the next `count` events, or of all that are left."""
    read: list[int] = []
    async with asyncio.timeout(5):
        while count is None or len(read) < count:
            try:
                read.append((await anext(handle))["seq"])
            except StopAsyncIteration:
                break
    return read


async def test_submitted_task_is_followed_to_its_end(scripted: ScriptedGateway) -> None:
    """A streaming submit gives the events that follow its answer, then the result."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit(input={"commands": ["true"]}))
        await peer.submitted()
        await peer.events(1, 2)
        await peer.complete(3, {"exit_code": 0})
        handle = await submitting
        assert await seqs(handle) == [1, 2, 3]
        assert await handle.result() == {"exit_code": 0}


async def test_reader_goes_on_from_its_last_seq(scripted: ScriptedGateway) -> None:
    """After a drop in mid-stream no event is missing, none comes twice."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit())
        await peer.submitted()
        await peer.events(1, 2, 3)
        handle = await submitting
        assert await seqs(handle, 3) == [1, 2, 3]
        reading = group.create_task(seqs(handle))
        peer.drop()
        again = await scripted.accept()
        await again.subscribed(3)
        await again.events(4, 5)
        await again.complete(6)
        assert await reading == [4, 5, 6]


async def test_repeated_event_is_read_once(scripted: ScriptedGateway) -> None:
    """Whatever a gateway repeats, a reader sees each seq once."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit())
        await peer.submitted()
        await peer.events(1, 2, 2, 1, 3)
        await peer.complete(4)
        assert await seqs(await submitting) == [1, 2, 3, 4]


async def test_what_was_buffered_is_not_asked_for_again(scripted: ScriptedGateway) -> None:
    """Events that had come before the drop are read first; the subscription goes on behind them."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit())
        await peer.submitted()
        await peer.events(1, 2, 3)
        handle = await submitting
        assert await seqs(handle, 1) == [1]
        peer.drop()
        again = await scripted.accept()
        reading = group.create_task(seqs(handle))
        await again.subscribed(3)
        await again.complete(4)
        assert await reading == [2, 3, 4]


async def test_slow_reader_is_bounded_and_misses_nothing(
    scripted: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the buffer can't hold is left in the log, and fetched when there is room."""
    monkeypatch.setattr(task_module, "MAX_BUFFERED_BYTES", 1000)
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit())
        await peer.submitted()
        handle = await submitting
        await peer.events(*range(1, 51))
        await peer.expect("unsubscribe")
        assert handle._buffered_bytes <= 1000
        reading = group.create_task(seqs(handle))
        last = handle._received
        await peer.subscribed(last)
        await peer.events(last + 1)
        await peer.complete(last + 2)
        assert await reading == list(range(1, last + 3))


async def test_slow_reader_does_not_hold_up_answers(
    scripted: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that nobody reads keeps no other request waiting."""
    monkeypatch.setattr(task_module, "MAX_BUFFERED_BYTES", 1000)
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit())
        await peer.submitted()
        await submitting
        ping = group.create_task(session.ping())
        await peer.events(*range(1, 51))
        await peer.answer(await peer.expect("ping"), {"time": "now"})
        assert await ping == "now"


async def test_background_task_is_subscribed_when_read(scripted: ScriptedGateway) -> None:
    """A handle of a background submit listens from the first event as soon as it is read."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit(mode="background"))
        await peer.submitted()
        reading = group.create_task((await submitting).result())
        await peer.subscribed(0)
        await peer.complete(1, {"exit_code": 0})
        assert await reading == {"exit_code": 0}


async def test_ended_task_is_replayed_whole(scripted: ScriptedGateway) -> None:
    """A task that has ended is read from where it was asked for to its last event."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        subscribing = group.create_task(session.subscribe("t1", after_seq=2))
        await peer.subscribed(2, task=task("completed", last_seq=5))
        await peer.events(3, 4)
        await peer.complete(5)
        assert await seqs(await subscribing) == [3, 4, 5]


async def test_trimmed_log_is_told(scripted: ScriptedGateway) -> None:
    """Where the beginning of the log is gone, the reader knows, and ends with what the task became."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        subscribing = group.create_task(session.subscribe("t1"))
        ended = task("completed", last_seq=9, result={"exit_code": 0})
        await peer.subscribed(0, recovered=False, first_seq=10, task=ended)
        handle = await subscribing
        assert not handle.recovered
        assert await seqs(handle) == []
        assert await handle.result() == {"exit_code": 0}


async def test_failed_task_raises_its_error(scripted: ScriptedGateway) -> None:
    """The result of a task that failed is its error, with code and details."""
    error = {"code": "command_failed", "message": "exit code 3", "details": {"exit_code": 3}}
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit())
        await peer.submitted()
        await peer.event(
            1, "status", {"status": "failed", "previous": "running", "attempt": 1, "error": error}
        )
        with pytest.raises(TaskFailedError) as caught:
            await (await submitting).result()
        assert (caught.value.code, caught.value.details) == ("command_failed", {"exit_code": 3})


async def test_cancelled_task_raises_that(scripted: ScriptedGateway) -> None:
    """Cancelling asks for it once; the result is then that it was cancelled."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit())
        await peer.submitted()
        handle = await submitting
        cancelling = group.create_task(handle.cancel("enough"))
        request = await peer.expect("cancel_task")
        assert (request["task_id"], request["reason"]) == ("t1", "enough")
        await peer.answer(request, {"task": task(desire="cancel")})
        await cancelling
        await peer.event(1, "status", {"status": "cancelled", "previous": "running", "attempt": 1})
        with pytest.raises(TaskCancelledError):
            await handle.result()


async def test_task_is_steered_by_its_id(scripted: ScriptedGateway) -> None:
    """Nothing is asked until something is wished; the handle then knows what is wished of the task."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        handle = session.task("t1")
        for steer, kind, desire in (
            (handle.pause, "pause_task", "pause"),
            (handle.resume, "resume_task", "run"),
        ):
            steering = group.create_task(steer("why"))
            request = await peer.expect(kind)
            assert (request["task_id"], request["reason"]) == ("t1", "why")
            await peer.answer(request, {"task": task(desire=desire)})
            await steering
            assert handle.task["desire"] == desire
        resizing = group.create_task(handle.resize(100, 40))
        request = await peer.expect("resize")
        assert (request["task_id"], request["cols"], request["rows"]) == ("t1", 100, 40)
        await peer.answer(request, {})
        await resizing


async def test_input_that_was_not_answered_is_sent_again_with_its_key(scripted: ScriptedGateway) -> None:
    """Whether it was stored before the connection was lost, it is there once."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        sending = group.create_task(session.task("t1").send_input("one\n", eof=True))
        first = await peer.expect("send_input")
        assert (first["data"], first["eof"]) == ("one\n", True)
        peer.drop()
        back = await scripted.accept()
        again = await back.expect("send_input")
        assert again["key"] == first["key"]
        await back.answer(again, {})
        await sending


async def test_unknown_task_is_refused_at_once(scripted: ScriptedGateway) -> None:
    """Listening to a task that isn't there fails where it was asked for."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        subscribing = group.create_task(failure(session.subscribe("t9")))
        await peer.refuse(await peer.expect("subscribe"), "task_not_found")
        error = await subscribing
        assert isinstance(error, RequestError)
        assert error.code == "task_not_found"


async def test_subscribe_is_patient_with_a_short_store(scripted: ScriptedGateway) -> None:
    """A reader outlasts a gateway that can't reach its store for a moment."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        subscribing = group.create_task(session.subscribe("t1"))
        await peer.refuse(await peer.expect("subscribe"), "unavailable", retryable=True)
        await peer.subscribed(0)
        await peer.complete(1)
        assert await seqs(await subscribing) == [1]


async def test_later_subscribe_takes_over(scripted: ScriptedGateway) -> None:
    """One session reads a task once: the former reader is told, and does not fight back."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        first = group.create_task(session.subscribe("t1"))
        await peer.subscribed(0)
        former = await first
        second = group.create_task(session.subscribe("t1"))
        await peer.subscribed(0)
        await second
        with pytest.raises(ClientError, match="later subscribe"):
            await anext(former)


async def test_closed_reader_can_be_read_on(scripted: ScriptedGateway) -> None:
    """A reader that stopped listening is subscribed again behind what it has read."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        subscribing = group.create_task(session.subscribe("t1"))
        await peer.subscribed(0)
        handle = await subscribing
        await peer.events(1)
        assert await seqs(handle, 1) == [1]
        closing = group.create_task(handle.aclose())
        await peer.answer(await peer.expect("unsubscribe"), {})
        await closing
        reading = group.create_task(seqs(handle))
        await peer.subscribed(1)
        await peer.complete(2)
        assert await reading == [2]
