"""The bridge as its user has it, on virtual time and a network in memory."""

import asyncio
import itertools

import pytest

from sandbox_bridge.bridge import Bridge
from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import SandboxBusy, SandboxLost, TaskFailed, TransportClosed
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import Peer, connected, failure_of, greeted, is_failure, outputs, running, until
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


async def step() -> None:
    """Let the loop go round once."""
    gone_round = asyncio.Event()
    asyncio.get_running_loop().call_soon(gone_round.set)
    await gone_round.wait()


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
    """A sandbox that others have filled answers `busy`; its bridge shows no room for a moment, and tells."""
    changed = asyncio.Event()
    async with greeted(on_change=changed.set) as (bridge, peer):
        async with bridge.open("s1", TaskSpec()) as session:
            error = {"error": "no room", "error_info": {"code": "busy"}}
            await peer.say({"type": "task_error", "session_id": "s1", **error})
            assert isinstance(await failure_of(session), SandboxBusy)
        assert (bridge.active, bridge.free) == (0, 0)
        with pytest.raises(SandboxBusy):
            bridge.open("s2", TaskSpec())
        changed.clear()
        async with asyncio.timeout(0.6):
            await changed.wait()
        assert bridge.free == 2


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
            failure = await failure_of(session)
        assert is_failure(failure, "bad_input")
        assert (await bridge.health()).status == "healthy"


# --- the connection's life ---


async def test_dropped_core_connection_loses_its_sessions_and_is_dialled_again() -> None:
    """All sessions of a core connection that broke are lost, after what had come; the next one works."""
    async with FakeSandbox(listen=False, hello="refuse") as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["echo x", "hang"])) as session:
            await until(lambda: "s1" in fake.sessions)
            assert [(await anext(session))["kind"] for _ in range(4)][1] == "output"
            fake.drop()
            assert isinstance(await failure_of(session), SandboxLost)
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
                assert "took nothing" in str(await failure_of(session))


@EITHER
async def test_bridge_that_ends_ends_its_sessions(hello: HelloManner) -> None:
    """A cancelled bridge tells the sandbox to end what runs, closes, and leaves its sessions lost."""
    async with FakeSandbox(listen=False, hello=hello) as fake:
        async with connected(fake.dial) as bridge:
            session = bridge.open("s1", TaskSpec(commands=["hang"]))
            await anext(session)
        assert isinstance(await failure_of(session), SandboxLost)
        assert bridge.info is None
        await until(lambda: not fake.sessions)
        assert fake.count("close_session" if hello == "answer" else "cancel_task") == 1


@pytest.mark.parametrize("steps", range(5))
async def test_bridge_that_is_cancelled_as_its_connection_breaks_ends(steps: int) -> None:
    """A cancel is not lost in the end of the connection, whichever step of it that meets."""
    peer = Peer()
    async with asyncio.timeout(60), running(peer.dial) as bridge:
        await peer.greet()
        await until(lambda: bridge.info is not None)
        peer.hang_up()
        for _ in range(steps):
            await step()


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
