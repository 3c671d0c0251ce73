"""A session's messages about its task: output, each command's start and end, and the records for the result."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sandbox_bridge.local.session.channel import Channel
from sandbox_bridge.local.session.endings import Ending
from sandbox_bridge.local.session.output import GATHER_S, MAX_TEXT_BYTES, Gap, OutputFlow, Text
from sandbox_bridge.local.session.results import (
    MAX_COMMAND_TEXT_CHARS,
    Transcript,
    command_progress,
    command_record,
    gap_progress,
    shorten,
)
from sandbox_bridge.local.session.task_clock import TaskClock
from sandbox_bridge.protocol import EndReason, Stream


@dataclass(slots=True)
class Running:
    """The command that runs now."""

    index: int
    text: str
    started_at: float
    ending: Ending | None = None
    """Once it is known."""


class Report:
    """Tells `channel` of one task, while its `clock` goes; with `is_streamed` false only its records are kept."""

    def __init__(self, channel: Channel, clock: TaskClock, *, output_bytes: int, is_streamed: bool) -> None:
        self.transcript = Transcript()
        self.running: Running | None = None
        self._channel = channel
        self._clock = clock
        self._is_streamed = is_streamed
        self._flow = OutputFlow(output_bytes, deliver=is_streamed)
        self._last_sent_at = 0.0
        self._now = asyncio.get_running_loop().time

    @property
    def is_held_back(self) -> bool:
        """Whether output waits because the peer takes none."""
        return self._channel.credit.is_awaited

    # --- commands -------------------------------------------------------------------------------------

    async def begin(self, index: int, text: str) -> None:
        """A command starts."""
        self.running = Running(index, shorten(text, MAX_COMMAND_TEXT_CHARS), self._now())
        await self._tell_command(self.running, exit_code=None)

    async def end(self, ending: Ending) -> None:
        """The command ended by itself: all its output goes out, however long that takes."""
        running = self._require_running()
        self.keep_record(ending)
        await self._deliver()
        await self._tell_command(running, exit_code=ending.exit_code, reason=ending.reason)
        self.running = None

    async def cut_short(self, ending: Ending) -> None:
        """The task ended: where a command ran, what there is no credit for is dropped, and said so."""
        running = self.running
        if running is None:
            return
        if running.ending is None:
            self.keep_record(ending)
        await self._deliver(wait=False)
        for gap in self._flow.give_up(ending.reason or "lost"):
            await self._send_item(gap)
        own = running.ending or ending
        await self._tell_command(running, exit_code=own.exit_code, reason=own.reason)
        self.running = None

    def keep_record(self, ending: Ending) -> None:
        """Close the books of the command that runs."""
        running = self._require_running()
        running.ending = ending
        record = command_record(
            running.text,
            self._flow.end_command(),
            exit_code=ending.exit_code,
            reason=ending.reason or "exit",
            duration_s=self._now() - running.started_at,
        )
        self.transcript.add(record)

    def _require_running(self) -> Running:
        assert self.running is not None  # noqa: S101 - one began, and none has ended since
        return self.running

    # --- output ---------------------------------------------------------------------------------------

    async def feed(self, stream: Stream, data: bytes) -> None:
        """Output of the command; waits for credit where much is waiting.

        What does not fill a frame goes on being gathered: frames cost more than bytes.
        """
        self._flow.feed(stream, data)
        await self._deliver(at_least=MAX_TEXT_BYTES)

    async def deliver_or(self, read: Callable[[], Awaitable[None]]) -> None:
        """Read more, and meanwhile, when it is due, send what is gathered."""
        due_at = self._last_sent_at + GATHER_S
        if not self._flow.is_waiting:
            await read()
        elif self._now() >= due_at:
            await self._deliver()
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await read()

    async def catch_up(self, read: Callable[[], tuple[Stream, bytes] | None]) -> None:
        """Send what is gathered, and what `read` still gives of the command, as far as there is credit for it."""
        await self._deliver(wait=False)
        while self._takes_output and not self._flow.is_waiting and (piece := read()) is not None:
            self._flow.feed(*piece)
            await self._deliver(wait=False)

    @property
    def _takes_output(self) -> bool:
        return self.running is not None and self.running.ending is None

    async def _deliver(self, *, at_least: int = 0, wait: bool = True) -> None:
        """Send what is gathered, while that is `at_least` so many bytes, waiting for credit.

        Without `wait`, send what there is credit for. Cancelled, it has lost nothing.
        """
        await self._clock.until_going()
        while self._flow.is_waiting and self._flow.waiting_bytes >= at_least:
            item = self._flow.take(self._channel.credit.room_nowait())
            if item is not None:
                await self._send_item(item)
                self._last_sent_at = self._now()
            elif wait:
                await self._channel.credit.room()
                await self._clock.until_going()
            else:
                break

    async def _send_item(self, item: Text | Gap) -> None:
        if isinstance(item, Gap):
            await self.tell(gap_progress(item))
            return
        index = self.running.index if self.running is not None else 0
        text = {"kind": "output", "stream": item.stream, "text": item.data.decode(), "command": index}
        await self.tell(text, cost=len(item.data))

    async def _tell_command(
        self, running: Running, *, exit_code: int | None, reason: EndReason | None = None
    ) -> None:
        await self.tell(command_progress(running.index, running.text, exit_code, reason))

    async def tell(self, progress: dict[str, Any], *, cost: int = 0) -> None:
        """Send one progress, which spends `cost` of the credit."""
        await self._clock.until_going()
        if self._is_streamed:
            await self._channel.send({"type": "task_progress", "progress": progress}, cost=cost)
