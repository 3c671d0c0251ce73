"""Sessions that outlive their socket, on virtual time and a network in memory."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox_bridge.bridge import Bridge, BridgeSession
from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import SandboxBusy, SandboxLost, TransportClosed
from sandbox_bridge.protocol import Collect, Limits
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import (
    HELLO,
    Peer,
    connected,
    failure_of,
    give,
    greeted,
    is_failure,
    next_within,
    outputs,
    running,
    until,
)
from tests.support.fake_sandbox import FakeSandbox
from tests.support.task_script import elapse

pytestmark = pytest.mark.looptime
ABLE = HELLO | {"capabilities": ["pause", "stdin", "tty"]}


def offer(last_seq: int, **more: Any) -> dict[str, Any]:
    """The hello of a sandbox that still has `s1`."""
    return ABLE | {"resume": [{"session_id": "s1", "last_seq": last_seq, **more}]}


async def said(peer: Peer, seq: int, text: str) -> None:
    """Have the peer say numbered output of `s1`."""
    progress = {"kind": "output", "text": text}
    await peer.say({"type": "task_progress", "session_id": "s1", "progress": progress, "seq": seq})


async def be_away(fake: FakeSandbox, bridge: Bridge) -> None:
    """Drop the socket, and let no other come about."""
    fake.is_away = True
    fake.drop()
    await until(lambda: bridge.info is None)


# --- what is gone on with ---


async def test_session_goes_on_over_the_next_connection() -> None:
    """A socket that drops costs an extended session nothing, and its user does not see it."""
    fake = FakeSandbox(listen=False)
    spec = TaskSpec(commands=["sleepy 50 100"])
    async with fake, connected(fake.dial) as bridge, bridge.open("s1", spec) as session:
        await anext(session)
        for _ in range(3):
            await be_away(fake, bridge)
            assert (bridge.active, bridge.free) == (1, 0)
            with pytest.raises(SandboxBusy):
                bridge.open("s2", TaskSpec())
            await elapse(1)
            fake.is_away = False
            await until(lambda: bridge.info is not None)
        assert await outputs(session) == "".join(f"line {number}\n" for number in range(1, 51))
        assert fake.dials == 4
        assert fake.count("stream_task") == 1


async def test_end_that_was_lost_is_told_again() -> None:
    """A session that ended while its socket was gone has its one end."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["sleep 1", "echo x"])) as session:
            await anext(session)
            await until(lambda: "s1" in fake.ended)
            fake.drop()
            assert await outputs(session) == "x\n"
        assert session.result is not None


async def test_hello_tells_how_far_all_is_granted() -> None:
    """`after_seq` is the last whose output was granted; what came again is not given out again."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        for seq, text in enumerate(("aa", "bb", "cc"), 1):
            await said(peer, seq, text)
        assert [(await anext(session))["text"] for _ in range(3)] == ["aa", "bb", "cc"]
        session.grant_nowait(3)
        peer.hang_up()
        await peer.accept()
        orders = [{"session_id": "s1", "action": "continue", "after_seq": 1}]
        assert (await peer.next()).items() >= {"type": "hello", "sessions": orders}.items()
        await peer.say(offer(4))
        for seq, text in enumerate(("bb", "cc", "dd"), 2):
            await said(peer, seq, text)
        assert (await anext(session))["text"] == "dd"
        await peer.complete("s1")
        assert await outputs(session) == ""


async def test_credit_is_neither_lost_nor_doubled() -> None:
    """After a drop a sandbox may send 256 KiB beyond what was granted: not more, and not less."""
    fake = FakeSandbox(listen=False)
    async with fake, connected(fake.dial) as bridge, bridge.open("s1", TaskSpec(commands=["yes"])) as session:
        taken = granted = 0
        for grant in (100_000, 8191, 8192, 64 << 10, 1, 300):
            while (progress := await next_within(session, 10)) is not None:
                taken += len(progress.get("text", ""))
            assert taken <= granted + (256 << 10)
            session.grant_nowait(grant)
            granted += grant
            fake.drop()
        while (progress := await next_within(session, 10)) is not None:
            taken += len(progress.get("text", ""))
        # The fake puts out 8 KiB or nothing.
        assert granted + (256 << 10) - 8192 < taken <= granted + (256 << 10)


async def test_wishes_of_the_gap_are_told_after_it() -> None:
    """Cancel, pause, input and size that were wished for without a socket come with the next one."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        session.send_input("one")
        session.send_input("two")
        assert [(await peer.next())["data"] for _ in range(2)] == ["one", "two"]
        peer.hang_up()
        await until(lambda: bridge.info is None)
        async with asyncio.TaskGroup() as group:
            group.create_task(session.pause())
            session.send_input("three", eof=True)
            session.on_input_moved(lambda: give(session, ["one", "two", "three"]))
            session.resize_nowait(80, 24)
            await peer.greet(offer(0, input_seq=1))
            frames = [await peer.next() for _ in range(4)]
            assert [frame["type"] for frame in frames] == ["pause_task", "resize", "task_input", "task_input"]
            assert [(frame["seq"], frame["data"]) for frame in frames[2:]] == [(2, "two"), (3, "three")]
            await peer.say({"type": "task_paused", "session_id": "s1"})
        peer.hang_up()
        await until(lambda: bridge.info is None)
        await session.cancel()
        await elapse(1)
        await peer.greet(offer(0, input_seq=3))
        assert (await peer.next())["type"] == "cancel_task"
        await peer.say(
            {"type": "task_error", "session_id": "s1", "error": "x", "error_info": {"code": "cancelled"}}
        )
        assert is_failure(await failure_of(session), "cancelled")


async def test_answer_lost_with_the_socket_is_asked_for_again() -> None:
    """A pause whose answer did not come is told once more."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        async with asyncio.TaskGroup() as group:
            group.create_task(session.pause())
            assert (await peer.next())["type"] == "pause_task"
            peer.hang_up()
            await peer.greet(offer(0))
            assert (await peer.next())["type"] == "pause_task"
            await peer.say({"type": "task_paused", "session_id": "s1"})
        assert session.can("pause")


async def test_session_left_in_the_gap_is_cancelled_after_it() -> None:
    """Leaving needs no socket; the cancel follows, and the session counts until its end."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await anext(session)
            await be_away(fake, bridge)
        assert bridge.active == 1
        fake.is_away = False
        await until(lambda: not fake.sessions and bridge.active == 0)


# --- what is lost ---


async def test_sandbox_started_anew_has_lost_its_sessions() -> None:
    """A new `boot_id` means that nothing is left, at once."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await anext(session)
            fake.restart("boot-2")
            async with asyncio.timeout(1):
                assert "anew" in str(await failure_of(session))
        assert bridge.free == 8


@pytest.mark.parametrize(
    "hello",
    [
        ABLE,
        offer(1),
        offer(5) | {"sandbox_id": "another"},
        offer(5) | {"boot_id": "another"},
        {"type": "health", "status": "healthy"},
    ],
    ids=["not offered", "fewer frames", "other sandbox", "other boot", "core"],
)
async def test_session_that_the_sandbox_has_no_more_is_lost(hello: dict[str, Any]) -> None:
    """Only the same sandbox that still has the session, with all it said, can go on with it."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        await said(peer, 1, "a")
        await said(peer, 2, "b")
        await until(lambda: session._call.inbox.received_seq == 2)
        peer.hang_up()
        await peer.accept()
        await peer.next()
        await peer.say(hello)
        async with asyncio.timeout(9):
            assert isinstance(await failure_of(session), SandboxLost)


async def test_session_with_a_hole_is_lost() -> None:
    """Where frames are missing after a drop, the rest is worth nothing."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        peer.hang_up()
        await peer.greet(offer(3))
        await said(peer, 2, "b")
        assert "lost some" in str(await failure_of(session))


@pytest.mark.parametrize("silent_s", [0.0, 5.0])
async def test_session_is_kept_for_8_s_from_the_last_byte(silent_s: float) -> None:
    """Nobody answers: several tries are made, then it is lost, the sooner the longer it had been silent."""
    loop = asyncio.get_running_loop()
    fake = FakeSandbox(listen=False)
    dials: list[float] = []

    async def dial() -> FrameTransport:
        dials.append(loop.time())
        return _Silent(await fake.dial(), silent_s)

    async with fake, connected(dial) as bridge, bridge.open("s1", TaskSpec(commands=["hang"])) as session:
        await anext(session)
        fake.is_away = True
        fake.drop()
        dropped_at = loop.time()
        assert isinstance(await failure_of(session), SandboxLost)
        assert loop.time() - dropped_at == pytest.approx(8 - silent_s, abs=0.01)
        assert bridge.active == 0
        assert dials[1] == pytest.approx(dropped_at, abs=0.01)
        assert len(dials) > 4


class _Silent:
    """A transport whose peer had been silent for so long before it was given up."""

    def __init__(self, inner: FrameTransport, silent_s: float) -> None:
        self._inner = inner
        self._silent_s = silent_s
        self.send = inner.send
        self.aclose = inner.aclose

    async def recv(self) -> str:
        try:
            return await self._inner.recv()
        except TransportClosed as error:
            raise TransportClosed(str(error), silent_s=self._silent_s) from error


async def test_sandbox_known_to_be_gone_is_not_waited_for() -> None:
    """An embedded sandbox whose process has ended takes its sessions along at once."""
    gone = asyncio.Event()

    async with FakeSandbox(listen=False) as fake:

        async def dial() -> FrameTransport:
            if gone.is_set():
                raise TransportClosed("it ended", is_final=True)
            return await fake.dial()

        async with connected(dial) as bridge, bridge.open("s1", TaskSpec(commands=["hang"])) as session:
            await anext(session)
            gone.set()
            fake.drop()
            async with asyncio.timeout(0.1):
                assert str(await failure_of(session)) == "it ended"


async def test_greeting_cut_off_does_not_make_a_core_sandbox() -> None:
    """A sandbox that once returned a hello is greeted again, whatever a connection dies of."""
    async with greeted(hello=ABLE) as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.next()
        peer.hang_up()
        for _ in range(3):
            await peer.accept()
            assert (await peer.next())["type"] == "hello"
            peer.hang_up()
        await peer.greet(offer(0))
        await peer.complete("s1")
        await outputs(session)


async def test_task_that_was_not_sent_is_no_attempt() -> None:
    """What waited to be sent when the connection broke is as if there had been no room."""
    peer = Peer(pipe_limit=1)
    async with running(peer.dial) as bridge:
        await peer.greet()
        await until(lambda: bridge.info is not None)
        async with bridge.open("s1", TaskSpec(files={"f": "x" * (8 << 20)})) as session:
            assert (await peer.next())["type"] == "file_chunk"
            peer.hang_up()
            assert isinstance(await failure_of(session), SandboxBusy)


async def test_time_that_is_over_in_the_gap_is_told_after_it() -> None:
    """The bridge's backstop does not give up on a sandbox that it can't reach."""
    async with (
        greeted(hello=ABLE) as (bridge, peer),
        bridge.open("s1", TaskSpec(limits=Limits(timeout_s=1))) as session,
    ):
        await peer.next()
        await elapse(10)
        peer.hang_up()
        await elapse(7)
        await peer.greet(offer(0))
        assert (await peer.next())["type"] == "cancel_task"
        await peer.complete("s1")
        await outputs(session)


async def test_closing_a_session_needs_a_connection_only() -> None:
    """`close_session` is told of any session, and says whether it could be told."""
    async with greeted(hello=ABLE) as (bridge, peer):
        assert bridge.close_session("another's")
        assert await peer.next() == {"type": "close_session", "session_id": "another's"}
        peer.hang_up()
        await until(lambda: bridge.info is None)
        assert not bridge.close_session("another's")


# --- cuts at any moment ---


async def _read(session: BridgeSession, texts: list[str], chunks: list[str]) -> None:
    async for progress in session:
        if progress["kind"] == "output":
            texts.append(progress["text"])
            session.grant_nowait(len(progress["text"]))
        elif progress["kind"] == "file_chunk":
            chunks.append(progress["path"])
            session.grant_nowait(len(progress["base64"]))


FILES = {f"f{number}": "x" * 50_000 for number in range(5)}
LINES = "".join(f"line {number}\n" for number in range(1, 41))
FED = [f"<{number}>" for number in range(30)]


async def _run(bridge: Bridge, name: str) -> tuple[str, list[str]]:
    """Run a task with input, a pause and files back; its output, and the paths of the pieces of its files."""
    texts: list[str] = []
    chunks: list[str] = []
    spec = TaskSpec(
        commands=["sleepy 40 7", "cat", "cat f0", "sleepy 40 1"],
        files=FILES,
        stdin=True,
        collect=Collect(globs=["f*"]),
    )
    async with bridge.open(name, spec) as session, asyncio.TaskGroup() as group:
        group.create_task(_read(session, texts, chunks))
        inputs: list[str] = []
        session.on_input_moved(lambda: give(session, inputs))
        for text in FED:
            inputs.append(text)
            give(session, inputs)
            await elapse(0.01)
        await session.pause()
        await elapse(0.1)
        await session.resume()
        inputs.append("")
        give(session, inputs)
    assert session.result is not None
    return "".join(texts), chunks


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=8))
async def test_cuts_cost_no_byte_and_double_none(cuts: list[int]) -> None:
    """Wherever the socket is cut, output, files, input and wishes come once, in order, to their end."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(_run(bridge, name)) for name in ("a", "b")]
            await until(lambda: len(fake.sessions) == 2)
            for cut_ms in cuts:
                await elapse(cut_ms / 1000)
                fake.drop()
        for run in runs:
            text, chunks = run.result()
            assert text == LINES + "".join(FED) + "x" * 50_000 + LINES
            assert chunks == [path for path in FILES for _ in range(2)]
        await until(lambda: bridge.active == 0)
