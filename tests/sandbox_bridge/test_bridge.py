"""The bridge as its user has it, on virtual time and a network in memory."""

import asyncio
import itertools
import random

import pytest

from sandbox_bridge.bridge import Bridge, BridgeTimes
from sandbox_bridge.calls import CallTimes
from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import SandboxBusy, SandboxLost, TaskFailed, TransportClosed
from sandbox_bridge.protocol import Limits
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import Peer, connected, greeted, outputs, running, until
from tests.support.fake_sandbox import FakeSandbox, HelloManner

pytestmark = pytest.mark.looptime

EITHER = pytest.mark.parametrize("hello", ["answer", "refuse"], ids=["extended", "core"])


@EITHER
async def test_session_yields_progress_in_order_then_its_result(hello: HelloManner) -> None:
    """Progress comes as the sandbox said it; the iteration ends after the result."""
    spec = TaskSpec(commands=["echo one", "stderr two"])
    async with FakeSandbox(listen=False, hello=hello) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", spec) as session:
            progress = [item async for item in session]
            assert await anext(session, None) is None
        assert [item["kind"] for item in progress] == ["command", "output", "command"] * 2
        assert [item["text"] for item in progress if item["kind"] == "output"] == ["one\n", "two\n"]
        assert session.result is not None
        assert session.result["exit_code"] == 0
        assert session.error is None


@EITHER
async def test_session_without_stream_has_only_its_result(hello: HelloManner) -> None:
    """`stream=False` asks for the end alone."""
    async with FakeSandbox(listen=False, hello=hello) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["echo one"]), stream=False) as session:
            assert [item async for item in session] == []
        assert session.result is not None
        assert session.result["commands"][0]["stdout"] == "one\n"
        assert fake.count("execute_task") == 1


@EITHER
async def test_session_of_a_failed_command_raises(hello: HelloManner) -> None:
    """The progress before a failure is not lost; then the failure is told with all that is known of it."""
    async with FakeSandbox(listen=False, hello=hello) as fake, connected(fake.dial) as bridge:
        seen = []
        async with bridge.open("s1", TaskSpec(commands=["echo one", "exit 3"])) as session:
            with pytest.raises(TaskFailed) as caught:
                seen = [item async for item in session]
            with pytest.raises(TaskFailed):
                await anext(session)
        assert not seen
        failure = caught.value
        assert (failure.code, failure.exit_code, failure.reason) == ("command_failed", 3, "exit")
        assert failure.result is not None
        assert failure.result["commands"][0]["stdout"] == "one\n"
        assert session.result is None


async def test_sessions_share_one_connection_and_stay_apart() -> None:
    """Fifty sessions at once over one connection each get all their own lines, and nobody else's."""

    async def run(bridge: Bridge, number: int) -> str:
        spec = TaskSpec(commands=[f"echo begin {number}", "sleepy 200 1", f"echo end {number}"])
        async with bridge.open(f"s{number}", spec) as session:
            return await outputs(session)

    lines = "".join(f"line {number}\n" for number in range(1, 201))
    async with FakeSandbox(listen=False, max_sessions=50) as fake, connected(fake.dial) as bridge:
        texts = await asyncio.gather(*(run(bridge, number) for number in range(50)))
        assert texts == [f"begin {number}\n{lines}end {number}\n" for number in range(50)]
        assert (fake.dials, bridge.active, bridge.free) == (1, 0, 50)


async def test_large_files_arrive_and_delay_nobodys_cancel() -> None:
    """Files larger than a frame arrive whole; frames of other sessions go out between their pieces."""
    peer = Peer(pipe_limit=1)
    async with running(peer.dial) as bridge:
        await peer.greet()
        await until(lambda: bridge.info is not None)
        async with bridge.open("small", TaskSpec(commands=["hang"])) as small:
            assert (await peer.next())["session_id"] == "small"
            async with bridge.open("large", TaskSpec(files={"f": "x" * (8 << 20)})):
                assert (await peer.next())["type"] == "file_chunk"
                await small.cancel()
                types = [(await peer.next())["type"] for _ in range(4)]
                assert "cancel_task" in types


# --- credit and back-pressure ---


async def test_output_is_held_back_until_credit_is_given() -> None:
    """An extended sandbox stops at 256 KiB of output that nobody granted, and goes on as it is granted."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["yes"])) as session:
            async with asyncio.timeout(10):
                taken = sum([len((await anext(session)).get("text", "")) for _ in range(33)])
            assert taken == 256 << 10
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(10):
                    await anext(session)
            session.grant_nowait((64 << 10) - 1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(10):
                    await anext(session)
            session.grant_nowait(1)
            async with asyncio.timeout(10):
                assert sum([len((await anext(session))["text"]) for _ in range(8)]) == 64 << 10
        assert [frame["bytes"] for frame in fake.received if frame["type"] == "credit"] == [64 << 10]


async def test_core_output_is_held_back_by_the_socket() -> None:
    """Without credit, a reader that lags leaves the socket unread, and still gets everything in the end."""
    async with FakeSandbox(listen=False, hello="refuse") as fake, connected(fake.dial) as bridge:
        spec = TaskSpec(commands=["cat big"] * 20, files={"big": "x" * 500_000})
        async with bridge.open("s1", spec) as session:
            await anext(session)
            with pytest.raises(TimeoutError):
                await until(lambda: not fake.sessions, within_s=60)
            assert len(await outputs(session)) == 10_000_000
        assert fake.count("credit") == 0


async def test_flood_of_frames_without_credit_is_bounded() -> None:
    """A hostile sandbox that ignores its credit fills a bounded buffer, then waits like any other."""
    async with greeted() as (bridge, peer):
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await peer.progress("s1", "x" * 60_000)
                sent += 1

        async with bridge.open("s1", TaskSpec()), asyncio.TaskGroup() as group:
            flooding = group.create_task(flood())
            with pytest.raises(TimeoutError):
                await until(lambda: sent > 1000, within_s=5)
            flooding.cancel()
        assert sent < 300


async def test_reader_that_leaves_a_full_buffer_frees_the_socket() -> None:
    """Other sessions are held up by one that is not read, and go on at once when it is left."""
    async with greeted() as (bridge, peer), bridge.open("other", TaskSpec()) as other:
        async with bridge.open("slow", TaskSpec()):
            for _ in range(80):
                await peer.progress("slow", "x" * 60_000)
            await peer.complete("other")
            with pytest.raises(TimeoutError):
                await until(lambda: other.result is not None, within_s=5)
        await until(lambda: other.result is not None)


# --- cancelling and leaving ---


@EITHER
async def test_cancel_ends_the_session_as_cancelled(hello: HelloManner) -> None:
    """Cancelling twice is one `cancel_task`, and the end is `TaskFailed` `cancelled`."""
    async with FakeSandbox(listen=False, hello=hello) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await anext(session)
            await session.cancel()
            await session.cancel()
            with pytest.raises(TaskFailed) as caught:
                await outputs(session)
            await session.cancel()
        assert caught.value.code == "cancelled"
        assert fake.count("cancel_task") == 1
        assert bridge.active == 0


async def test_cancel_before_the_task_was_sent_sends_nothing() -> None:
    """A session cancelled at once ends as cancelled, and the sandbox never hears of it."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await session.cancel()
            with pytest.raises(TaskFailed) as caught:
                await outputs(session)
        assert caught.value.code == "cancelled"
        assert (await bridge.health()).active_sessions == 0
        assert fake.count("stream_task") == fake.count("cancel_task") == 0


async def test_cancel_that_has_no_effect_is_a_lost_sandbox() -> None:
    """A sandbox that does not end a cancelled task within 5 s is given up on for this session."""
    loop = asyncio.get_running_loop()
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["trap"])) as session:
            await anext(session)
            began_at = loop.time()
            await session.cancel()
            with pytest.raises(SandboxLost):
                await outputs(session)
            assert loop.time() - began_at == pytest.approx(5.0)
        assert bridge.active == 0


async def test_session_left_early_is_cancelled_and_counts_until_its_end() -> None:
    """Leaving sends `cancel_task` without waiting; the place is free once the sandbox has said the end."""
    async with greeted() as (bridge, peer):
        with pytest.raises(RuntimeError, match="mine"):
            async with bridge.open("s1", TaskSpec(commands=["hang"])):
                assert (await peer.next())["type"] == "stream_task"
                raise RuntimeError("mine")
        assert await peer.next() == {"type": "cancel_task", "session_id": "s1"}
        assert (bridge.active, bridge.free) == (1, 1)
        await peer.say(
            {"type": "task_error", "session_id": "s1", "error": "x", "error_info": {"code": "cancelled"}}
        )
        await until(lambda: bridge.active == 0)


async def test_session_left_early_counts_no_longer_than_its_deadline() -> None:
    """A sandbox that never says the end of a left session holds its place for 5 s."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["trap"])) as session:
            await anext(session)
        assert bridge.active == 1
        await until(lambda: bridge.active == 0, within_s=5.1)


async def test_cancelled_reader_has_its_task_cancelled() -> None:
    """Cancelling the asyncio task that reads a session cancels the session, and is not swallowed."""

    async def read(bridge: Bridge) -> None:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await outputs(session)

    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read(bridge))
            await until(lambda: "s1" in fake.sessions)
            reader.cancel()
        assert reader.cancelled()
        await until(lambda: not fake.sessions and bridge.active == 0)


# --- time ---


async def test_core_timeout_is_kept_by_the_bridge() -> None:
    """A core sandbox is told no limits: the bridge cancels when the time is over and calls it `timeout`."""
    loop = asyncio.get_running_loop()
    async with FakeSandbox(listen=False, hello="refuse") as fake, connected(fake.dial) as bridge:
        began_at = loop.time()
        async with bridge.open("s1", TaskSpec(commands=["hang"], limits=Limits(timeout_s=30))) as session:
            with pytest.raises(TaskFailed) as caught:
                await outputs(session)
        assert (caught.value.code, caught.value.reason) == ("timeout", "timeout")
        assert loop.time() - began_at == pytest.approx(30, abs=0.1)
        assert all("limits" not in frame for frame in fake.received)


async def test_core_timeout_without_effect_is_a_lost_sandbox() -> None:
    """A core sandbox that does not end a task whose time is over is given up on."""
    spec = TaskSpec(commands=["trap"], limits=Limits(timeout_s=30))
    async with (
        FakeSandbox(listen=False, hello="refuse") as fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", spec) as session,
    ):
        with pytest.raises(SandboxLost):
            await outputs(session)


async def test_extended_timeout_is_kept_by_the_sandbox() -> None:
    """An extended sandbox keeps the limit itself; the bridge does not cancel before its grace."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"], limits=Limits(timeout_s=30))) as session:
            with pytest.raises(TaskFailed) as caught:
                await outputs(session)
        assert caught.value.code == "timeout"
        assert fake.count("cancel_task") == 0


async def test_extended_timeout_not_kept_is_enforced() -> None:
    """A sandbox that lets a task run on after its time has it cancelled after a grace of 10 s."""
    loop = asyncio.get_running_loop()
    async with greeted() as (bridge, peer):
        began_at = loop.time()
        async with bridge.open("s1", TaskSpec(limits=Limits(timeout_s=30))) as session:
            await peer.next()
            assert (await peer.next())["type"] == "cancel_task"
            assert loop.time() - began_at == pytest.approx(40, abs=0.1)
            await peer.complete("s1")
            await outputs(session)
        assert session.result == {"exit_code": 0}


async def test_task_without_timeout_has_a_last_deadline() -> None:
    """Even a task that nobody limited ends some day."""
    times = BridgeTimes(call=CallTimes(longest_task_s=100))
    async with FakeSandbox(listen=False) as fake, connected(fake.dial, times=times) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            with pytest.raises(TaskFailed) as caught:
                await outputs(session)
        assert caught.value.code == "timeout"


# --- room ---


async def test_full_bridge_refuses_and_has_room_again_later() -> None:
    """`open` beyond `max_sessions` is `SandboxBusy`; an end makes room."""
    async with FakeSandbox(listen=False, max_sessions=1) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["echo x"])) as session:
            with pytest.raises(SandboxBusy):
                bridge.open("s2", TaskSpec())
            await outputs(session)
        async with bridge.open("s2", TaskSpec(commands=["echo x"])) as session:
            await outputs(session)


async def test_busy_from_the_sandbox_is_busy_and_pauses_the_bridge() -> None:
    """A sandbox that others have filled answers `busy`; its bridge then shows no room for a moment."""
    changes = 0

    def count() -> None:
        nonlocal changes
        changes += 1

    async with FakeSandbox(listen=False, max_sessions=1) as fake, connected(fake.dial) as other:
        bridge = Bridge(fake.dial, address="second", random=random.Random(1), on_change=count)  # noqa: S311
        async with asyncio.TaskGroup() as group, other.open("theirs", TaskSpec(commands=["hang"])) as theirs:
            await anext(theirs)
            run = group.create_task(bridge.run())
            await until(lambda: bridge.free == 1)
            async with bridge.open("mine", TaskSpec()) as session:
                with pytest.raises(SandboxBusy):
                    await outputs(session)
            assert (bridge.active, bridge.free) == (0, 0)
            before = changes
            await until(lambda: bridge.free == 1, within_s=0.6)
            assert changes == before + 1
            run.cancel()


async def test_session_id_in_use_is_refused() -> None:
    """Two sessions of one name can't be told apart, so the second is not begun."""
    async with (
        FakeSandbox(listen=False) as fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", TaskSpec(commands=["echo x"])) as session,
    ):
        with pytest.raises(ValueError, match="s1"):
            bridge.open("s1", TaskSpec())
        await outputs(session)


async def test_task_too_large_for_a_core_sandbox_is_bad_input() -> None:
    """What can't be said comes out of the iteration as `bad_input`, and the connection lives on."""
    async with FakeSandbox(listen=False, hello="refuse") as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(files={"f": "x" * (16 << 20)})) as session:
            with pytest.raises(TaskFailed) as caught:
                await outputs(session)
        assert caught.value.code == "bad_input"
        assert (await bridge.health()).status == "healthy"


# --- the connection's life ---


async def test_dropped_connection_loses_its_sessions_and_is_dialled_again() -> None:
    """All sessions of a connection that broke are lost, after what had come; the next one works."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["echo x", "hang"])) as session:
            await until(lambda: "s1" in fake.sessions)
            assert [(await anext(session))["kind"] for _ in range(4)][1] == "output"
            fake.drop()
            with pytest.raises(SandboxLost):
                await outputs(session)
            assert (bridge.info, bridge.active, bridge.free) == (None, 0, 0)
            with pytest.raises(SandboxBusy):
                bridge.open("s2", TaskSpec())
        await until(lambda: bridge.info is not None)
        async with bridge.open("s1", TaskSpec(commands=["echo again"])) as session:
            assert await outputs(session) == "again\n"


async def test_reconnects_back_off_with_jitter() -> None:
    """Waits between attempts are random, grow, and stay within 5 s."""
    loop = asyncio.get_running_loop()
    attempts: list[float] = []

    async def dial() -> FrameTransport:
        attempts.append(loop.time())
        raise TransportClosed("nobody there")

    async with running(dial) as bridge:
        await until(lambda: len(attempts) == 60, within_s=300)
        assert (bridge.problem, bridge.free) == ("nobody there", 0)
    waits = [after - before for before, after in itertools.pairwise(attempts)]
    assert all(wait <= min(5.0, 0.1 * 2**index) + 0.001 for index, wait in enumerate(waits))
    assert max(waits) > 4
    assert len(set(waits)) > 50


async def test_back_off_begins_anew_after_a_good_connection() -> None:
    """A connection that held resets the wait; one that breaks at once does not."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        for _ in range(6):
            fake.drop()
            await until(lambda: bridge.info is None)
            await until(lambda: bridge.info is not None, within_s=10)
        with pytest.raises(TimeoutError):
            await until(lambda: bridge.info is None, within_s=6)
        fake.drop()
        await until(lambda: bridge.info is None)
        await until(lambda: bridge.info is not None, within_s=0.11)


async def test_dial_that_hangs_is_given_up() -> None:
    """An attempt to connect has a deadline."""

    async def dial() -> FrameTransport:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with running(dial) as bridge:
        await until(lambda: bridge.problem == "no connection within 10 s", within_s=11)


async def test_peer_that_takes_nothing_is_given_up() -> None:
    """A frame that is not taken for 30 s ends the connection."""
    peer = Peer(pipe_limit=1)
    async with running(peer.dial) as bridge:
        await peer.greet()
        await until(lambda: bridge.info is not None)
        async with bridge.open("s1", TaskSpec()) as first, bridge.open("s2", TaskSpec()) as second:
            for session in (first, second):
                with pytest.raises(SandboxLost, match="took nothing"):
                    await outputs(session)


@EITHER
async def test_bridge_that_ends_ends_its_sessions(hello: HelloManner) -> None:
    """A cancelled bridge tells the sandbox to end what runs, closes, and leaves its sessions lost."""
    async with FakeSandbox(listen=False, hello=hello) as fake:
        async with connected(fake.dial) as bridge:
            session = bridge.open("s1", TaskSpec(commands=["hang"]))
            await anext(session)
        with pytest.raises(SandboxLost):
            await outputs(session)
        assert bridge.info is None
        await until(lambda: not fake.sessions)
        assert fake.count("close_session" if hello == "answer" else "cancel_task") == 1


async def test_health_is_asked_once_for_all_who_want_it() -> None:
    """Checks at the same time share one question; one without an answer is a lost sandbox, and asked anew."""
    async with greeted() as (bridge, peer):

        async def answer() -> None:
            assert (await peer.next())["type"] == "health_check"
            await peer.say({"type": "health", "status": "healthy", "active_sessions": 7})

        first, second, _ = await asyncio.gather(bridge.health(), bridge.health(), answer())
        assert first is second
        assert first.active_sessions == 7
        with pytest.raises(SandboxLost):
            await bridge.health()
        assert (await peer.next())["type"] == "health_check"
        third, _ = await asyncio.gather(bridge.health(), answer())
        assert third.active_sessions == 7


async def test_repr_shows_the_state() -> None:
    """The state is to be seen at a glance."""
    async with FakeSandbox(listen=False) as fake:
        async with connected(fake.dial) as bridge:
            assert repr(bridge) == "<Bridge test local 0/8>"
        assert repr(bridge) == "<Bridge test down: the bridge was closed>"
