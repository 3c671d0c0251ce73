"""What a task is given to read, until one of its commands takes it."""

import asyncio
import tempfile
from collections import deque

MAX_MEMORY_BYTES = 1 << 20
"""Of one task's input; what is more waits on disk."""
MAX_INPUT_BYTES = 64 << 20
"""Of one task's input in all (the protocol's number)."""
MAX_ENDS = 1000
"""Ends of input that wait: there are no more commands to take them."""
PIECE_BYTES = 64 << 10


class InputTooLargeError(Exception):
    """A task was given more to read than a task may."""


class TaskInput:
    """A task's input in the order in which it came, cut by ends of input. Holds a file until `close`."""

    def __init__(self) -> None:
        self.last_seq = 0
        """The number of the last piece taken."""
        self._spool = tempfile.SpooledTemporaryFile(MAX_MEMORY_BYTES)  # noqa: SIM115 - closed by `close`
        self._written = 0
        self._given = 0
        # Where in it a command's input ends.
        self._ends: deque[int] = deque()
        self._came = asyncio.Event()

    def put_nowait(self, data: bytes, *, eof: bool, seq: int | None) -> None:
        """Take the next piece, or not where one of its number was here before. Raises `InputTooLargeError`."""
        if seq is not None:
            if seq <= self.last_seq:
                return
            self.last_seq = seq
        if self._written + len(data) > MAX_INPUT_BYTES:
            raise InputTooLargeError(f"more than {MAX_INPUT_BYTES} bytes of input")
        try:
            self._spool.seek(self._written)
            self._spool.write(data)
        except OSError as error:
            raise InputTooLargeError(f"there is no room for the input: {error}") from error
        self._written += len(data)
        if eof and len(self._ends) < MAX_ENDS:
            self._ends.append(self._written)
        self._came.set()

    async def next(self) -> bytes:
        """What comes next; nothing at an end of input. Cancelled, it has taken nothing."""
        while self._given == self._written and not self._ends:
            self._came.clear()
            await self._came.wait()
        if self._ends and self._ends[0] == self._given:
            self._ends.popleft()
            return b""
        until = self._ends[0] if self._ends else self._written
        self._spool.seek(self._given)
        piece = self._spool.read(min(until - self._given, PIECE_BYTES))
        self._given += len(piece)
        return piece

    def close(self) -> None:
        """Let go of it."""
        self._spool.close()
