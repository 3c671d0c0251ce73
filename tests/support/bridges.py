"""Bridges for tests: connected ones, and one whose sandbox is the test itself."""

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from sandbox_bridge.bridge import DEFAULT_TIMES, Bridge, BridgeSession, BridgeTimes
from sandbox_bridge.connection import FrameTransport, dial
from sandbox_bridge.errors import SandboxError, TaskFailed
from sandbox_bridge.handshake import Trust
from tests.support.memory_transport import MemoryTransport, memory_pair
from tests.support.task_script import elapse

HELLO = {"type": "hello", "protocol": "sandbox.v1", "sandbox_id": "s", "boot_id": "b", "max_sessions": 2}


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for `condition`. Raises `TimeoutError`."""
    pause_s = 0.001
    async with asyncio.timeout(within_s):
        while not condition():
            await elapse(pause_s)
            pause_s = min(0.05, pause_s * 1.3)


@asynccontextmanager
async def running(
    dial: Callable[[], Awaitable[FrameTransport]],
    *,
    times: BridgeTimes = DEFAULT_TIMES,
    on_change: Callable[[], None] | None = None,
    trust: Trust = "server",
) -> AsyncIterator[Bridge]:
    """A bridge that runs for as long as the context."""
    bridge = Bridge(
        dial,
        address="test",
        random=random.Random(1),
        wall_clock=lambda: 1.5,
        times=times,
        on_change=on_change,
        trust=trust,
    )
    async with asyncio.TaskGroup() as group:
        run = group.create_task(bridge.run())
        try:
            yield bridge
        finally:
            run.cancel()


@asynccontextmanager
async def connected(
    dial: Callable[[], Awaitable[FrameTransport]],
    *,
    times: BridgeTimes = DEFAULT_TIMES,
    trust: Trust = "server",
) -> AsyncIterator[Bridge]:
    """A bridge that has its connection."""
    async with running(dial, times=times, trust=trust) as bridge:
        await until(lambda: bridge.info is not None, within_s=10)
        yield bridge


@asynccontextmanager
async def bridge_to(url: str) -> AsyncIterator[Bridge]:
    """A bridge that is connected to the service at `url`."""
    async with connected(functools.partial(dial, url)) as bridge:
        yield bridge


class Peer:
    """A sandbox played by the test: each dial gives it a new connection."""

    def __init__(self, *, pipe_limit: int = 64) -> None:
        self.dials = 0
        self._pipe_limit = pipe_limit
        self._transports: asyncio.Queue[MemoryTransport] = asyncio.Queue(16)
        self.transport: MemoryTransport | None = None

    async def dial(self) -> FrameTransport:
        """What the bridge dials with."""
        ours, theirs = memory_pair(self._pipe_limit)
        self.dials += 1
        self._transports.put_nowait(ours)
        return theirs

    async def accept(self) -> None:
        """Take up the next connection that is still open."""
        async with asyncio.timeout(60):
            self.transport = await self._transports.get()
            while self.transport.is_closed:
                self.transport = await self._transports.get()

    async def greet(self, hello: dict[str, Any] | None = None) -> None:
        """Take up the next connection and agree on the extensions."""
        await self.accept()
        assert (await self.next())["type"] == "hello"
        await self.say(hello or HELLO)

    async def next(self) -> dict[str, Any]:
        """The next frame from the bridge."""
        assert self.transport is not None
        async with asyncio.timeout(60):
            frame: dict[str, Any] = orjson.loads(await self.transport.recv())
        return frame

    async def say(self, *frames: dict[str, Any] | str) -> None:
        """Send frames, or texts that are none."""
        assert self.transport is not None
        for frame in frames:
            await self.transport.send(frame if isinstance(frame, str) else orjson.dumps(frame).decode())

    async def progress(self, session_id: str, text: str) -> None:
        """Send output of a session."""
        progress = {"kind": "output", "stream": "stdout", "text": text, "command": 0}
        await self.say({"type": "task_progress", "session_id": session_id, "progress": progress})

    async def complete(self, session_id: str) -> None:
        """Send the good end of a session."""
        await self.say({"type": "task_completed", "session_id": session_id, "result": {"exit_code": 0}})

    def hang_up(self, code: int | None = None) -> None:
        """End the connection."""
        assert self.transport is not None
        self.transport.close_nowait(code)


@asynccontextmanager
async def greeted(
    on_change: Callable[[], None] | None = None, *, hello: dict[str, Any] = HELLO
) -> AsyncIterator[tuple[Bridge, Peer]]:
    """A bridge and its peer that have said `hello` to each other."""
    peer = Peer()
    async with running(peer.dial, on_change=on_change) as bridge:
        await peer.greet(hello)
        await until(lambda: bridge.info is not None)
        yield bridge, peer


async def outputs(session: BridgeSession) -> str:
    """All text that a session puts out from now to its end."""
    texts = []
    async for progress in session:
        if progress["kind"] == "output":
            texts.append(progress["text"])
            session.grant_nowait(len(progress["text"].encode()))
    return "".join(texts)


async def failure_of(session: BridgeSession) -> SandboxError:
    """What reading a session to its end raises."""
    try:
        await outputs(session)
    except SandboxError as error:
        return error
    raise AssertionError("the session ended well")


def is_failure(error: Exception, code: str) -> bool:
    """Whether `error` is a task's failure with `code`."""
    return isinstance(error, TaskFailed) and error.code == code


def give(session: BridgeSession, inputs: list[str]) -> None:
    """Give a session those of the inputs that it lacks, as far as it wants them; an empty one ends them."""
    while session.wants_input and session.input_seq < len(inputs):
        text = inputs[session.input_seq]
        session.send_input(text, eof=not text)


async def next_within(session: BridgeSession, seconds: float) -> dict[str, Any] | None:
    """The session's next progress, or None if there is none for so long."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(session)
    except TimeoutError:
        return None
