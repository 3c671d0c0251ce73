"""Reads what comes out of a jail, in one order: what its agent reports, and what its command prints."""

import asyncio
from collections import deque
from collections.abc import Callable

from sandbox_bridge.local.agent.frames import (
    COLLECTED,
    EXITED,
    NOT_STARTED,
    STDERR,
    STDOUT,
    MalformedError,
    Unpacker,
)
from sandbox_bridge.local.errors import JailLostError
from sandbox_bridge.local.jail.pipes import HostEnds, PipeReader, readable

_MAX_REPORT_BYTES = 4096
_READ_BYTES = 64 << 10


class OutputReader:
    """Reads the pipes of one jail. `on_end` is called when its command has ended."""

    def __init__(self, host_ends: HostEnds, on_end: Callable[[], None]) -> None:
        self._host_ends = host_ends
        self._on_end = on_end
        self._unpacker = Unpacker(_MAX_REPORT_BYTES)
        self._frames: deque[tuple[bytes, bytes]] = deque()
        self._collected: PipeReader | None = None
        self._is_running = False

    def begin(self, collected: PipeReader | None = None) -> None:
        """A command starts, whose standard output may be one of its own, which is ours then."""
        self._is_running = True
        self._collected = collected

    def close(self) -> None:
        """Let go of a command's own output."""
        if self._collected is not None:
            self._collected.close()
            self._collected = None

    def next_nowait(self) -> tuple[bytes, bytes] | None:
        """The next of what was read, or None: (STDOUT | STDERR, bytes), (EXITED | NOT_STARTED, payload)."""
        return self._frames.popleft() if self._frames else None

    async def next(self) -> tuple[bytes, bytes]:
        """As `next_nowait`, once there is something. Raises `JailLostError`."""
        while (frame := self.next_nowait()) is None:
            await self.fill()
        return frame

    def next_output_nowait(self) -> tuple[bytes, bytes] | None:
        """As `next_nowait`, of what is in the command's pipes now; None where its end comes first, too."""
        if not self._frames:
            self._frames.extend(self._pieces())
        return self._frames.popleft() if self._frames and self._frames[0][0] in {STDOUT, STDERR} else None

    async def fill(self) -> None:
        """Read more; cancelled, it has read nothing. Raises `JailLostError` at the end."""
        await asyncio.sleep(0)  # under a flood there always is something, and others want their turn
        while not self._read():
            pipes = (*self._outputs().values(), self._host_ends.report)
            await readable(pipe.fd for pipe in pipes if not pipe.has_ended)

    async def discard(self) -> None:
        """Read, and throw away, until the end. Raises `JailLostError` there."""
        while True:
            await self.next()

    def _read(self) -> bool:
        """Take a piece of what each pipe has; whether that was anything."""
        self._frames.extend(self._pieces())
        self._unpacker.feed(self._host_ends.report.read(_READ_BYTES))
        if self._host_ends.report.has_ended:
            raise JailLostError("the agent hung up")
        try:
            while (frame := self._unpacker.next_nowait()) is not None:
                self._note_end(frame[0])
                self._frames.append(frame)
        except MalformedError as error:
            raise JailLostError(f"the agent sent {error}") from None
        return bool(self._frames)

    def _pieces(self) -> list[tuple[bytes, bytes]]:
        pieces = [(kind, pipe.read(_READ_BYTES)) for kind, pipe in self._outputs().items()]
        return [(kind, data) for kind, data in pieces if data]

    def _outputs(self) -> dict[bytes, PipeReader]:
        outputs = {STDOUT: self._host_ends.stdout, STDERR: self._host_ends.stderr}
        return outputs if self._collected is None else {**outputs, COLLECTED: self._collected}

    def _note_end(self, kind: bytes) -> None:
        """Take what a command that has just ended has printed; the background's comes later."""
        if kind not in {EXITED, NOT_STARTED}:
            return
        if not self._is_running:
            raise JailLostError("the agent told of an end that there was not")
        self._is_running = False
        self._on_end()
        for mark, pipe in self._outputs().items():
            self._frames.extend((mark, piece) for piece in pipe.read_present(_READ_BYTES))
        self.close()
