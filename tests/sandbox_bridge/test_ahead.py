"""Files that go before their task as they come, on virtual time and a network in memory."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sandbox_bridge.errors import SandboxBusy
from sandbox_bridge.protocol import MAX_FRAME_BYTES
from sandbox_bridge.spec import FilePiece, TaskSpec
from tests.support.bridges import Peer, connected, failure_of, greeted, is_failure, outputs, running, until
from tests.support.fake_sandbox import FakeSandbox, HelloManner

pytestmark = pytest.mark.looptime

EITHER = pytest.mark.parametrize("hello", ["answer", "refuse"], ids=["extended", "core"])


async def pieces() -> AsyncIterator[FilePiece]:
    """Three files: one in pieces of all sizes, one empty, one that is no text."""
    for size in (1, 0, 3 << 20, 17):
        yield FilePiece("a/big", b"x" * size, last=False)
    yield FilePiece("a/big", b"", last=True)
    yield FilePiece("empty", b"", last=True)
    yield FilePiece("bytes", bytes(range(256)), last=True)


@EITHER
async def test_files_are_there_when_the_task_begins(hello: HelloManner) -> None:
    """They arrive whole, beside those that the task brings itself, also where they have to go inline."""
    spec = TaskSpec(
        files={"own": "y"}, ahead=pieces, commands=["cat own", "wc -c a/big", "wc -c empty", "wc -c bytes"]
    )
    async with (
        FakeSandbox(listen=False, hello=hello) as fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", spec) as session,
    ):
        assert await outputs(session) == f"y{(3 << 20) + 18} a/big\n0 empty\n256 bytes\n"
    assert all(len(frame.get("base64", "")) < MAX_FRAME_BYTES for frame in fake.received)


async def test_pieces_are_drawn_as_they_are_sent() -> None:
    """A slow sandbox holds up the source of the files: nothing piles up."""
    drawn = 0

    async def endless() -> AsyncIterator[FilePiece]:
        nonlocal drawn
        while True:
            drawn += 1
            yield FilePiece("f", b"x" * 1000, last=False)

    peer = Peer(pipe_limit=2)
    async with running(peer.dial) as bridge:
        await peer.greet()
        await until(lambda: bridge.info is not None)
        async with bridge.open("s1", TaskSpec(ahead=endless)) as session, asyncio.TaskGroup() as group:
            reading = group.create_task(failure_of(session))
            with pytest.raises(TimeoutError):
                await until(lambda: drawn > 10, within_s=5)
            for number in range(100):
                assert (await peer.next())["offset"] == number * 1000
            await session.cancel()
            assert is_failure(await reading, "cancelled")
        assert drawn < 120


async def test_source_that_fails_fails_the_reader() -> None:
    """What the source raises comes out of the iteration as it is, and no task is sent."""

    async def broken() -> AsyncIterator[FilePiece]:
        yield FilePiece("f", b"x", last=False)
        raise OSError("disk")

    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        async with bridge.open("s1", TaskSpec(ahead=broken)) as session:
            with pytest.raises(OSError, match="disk"):
                await outputs(session)
        assert bridge.active == 0
        assert (await bridge.health()).status == "healthy"
    assert fake.count("stream_task") == 0


async def test_core_sandbox_is_given_16_mib_at_most() -> None:
    """What does not fit into one frame is `bad_input`."""

    async def large() -> AsyncIterator[FilePiece]:
        for _ in range(17):
            yield FilePiece("f", b"x" * (1 << 20), last=False)

    async with (
        FakeSandbox(listen=False, hello="refuse") as fake,
        connected(fake.dial) as bridge,
        bridge.open("s1", TaskSpec(ahead=large)) as session,
    ):
        assert is_failure(await failure_of(session), "bad_input")


async def test_connection_that_breaks_on_the_way_is_no_attempt() -> None:
    """A task of which only files were sent has not run: it is as if there had been no room."""
    dropped = asyncio.Event()

    async with greeted() as (bridge, peer):

        async def slow() -> AsyncIterator[FilePiece]:
            peer.hang_up()
            await until(lambda: bridge.info is None)
            dropped.set()
            yield FilePiece("f", b"x", last=False)
            yield FilePiece("f", b"x", last=True)

        async with bridge.open("s1", TaskSpec(ahead=slow)) as session:
            assert isinstance(await failure_of(session), SandboxBusy)
        assert dropped.is_set()
