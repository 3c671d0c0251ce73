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
TOLD_BYTES = 64 << 10
"""Handed over before a bridge is told of it."""


class InputTooLargeError(Exception):
    """A task was given more to read than a task may."""


class TaskInput:
    """A task's input in the order in which it came, cut by ends of input. Holds a file until `close`."""

    def __init__(self) -> None:
        self.last_seq = 0
        """The number of the last piece that came."""
        self.taken_seq = 0
        """The number of the last piece that is wholly with a command."""
        self._told_seq = 0
        self._untold_bytes = 0
        self._spool = tempfile.SpooledTemporaryFile(MAX_MEMORY_BYTES)  # noqa: SIM115 - closed by `close`
        self._written = 0
        self._given = 0
        # Of the pieces that are not wholly with a command: where each ends, and its number.
        self._marks: deque[tuple[int, int]] = deque()
        self._handed = 0
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
        if seq is not None:
            self._marks.append((self._written, seq))
        if eof and len(self._ends) < MAX_ENDS:
            self._ends.append(self._written)
        self._came.set()

    async def next(self) -> bytes:
        """What comes next; nothing at an end of input. Cancelled, it has taken nothing.

        What it gave before is with a command by now, or gone with it.
        """
        self.hand_over()
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

    def hand_over(self) -> None:
        """What `next` gave last is with a command."""
        self._untold_bytes += self._given - self._handed
        self._handed = self._given
        while self._marks and self._marks[0][0] <= self._handed:
            self.taken_seq = self._marks.popleft()[1]

    def news(self) -> int | None:
        """The `taken_seq`, where it is worth to be told now: once each, and not for every key that is pressed."""
        if self._untold_bytes < TOLD_BYTES or self.taken_seq == self._told_seq:
            return None
        self._untold_bytes = 0
        self._told_seq = self.taken_seq
        return self.taken_seq

    def close(self) -> None:
        """Let go of it."""
        self._spool.close()
