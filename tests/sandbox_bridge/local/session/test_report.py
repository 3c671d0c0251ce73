"""What a session tells of its output: in which portions, and when."""

import asyncio
from dataclasses import dataclass, field

import orjson
import pytest

from sandbox_bridge.local.session.channel import WINDOW_BYTES, Channel
from sandbox_bridge.local.session.endings import Ending
from sandbox_bridge.local.session.output import MAX_TEXT_BYTES
from sandbox_bridge.local.session.report import Report
from sandbox_bridge.local.session.task_clock import TaskClock
from sandbox_bridge.protocol import Stream


@dataclass
class Texts:
    """A line that keeps the sizes of the output that goes over it."""

    sizes: list[int] = field(default_factory=list)
    hears_input_taken: bool = False

    async def send(self, text: str) -> None:
        """Take a frame."""
        progress = orjson.loads(text)["progress"]
        if progress["kind"] == "output":
            self.sizes.append(len(progress["text"]))

    def abort(self) -> None:
        """Nobody hangs up here."""


def report_over(line: Texts) -> Report:
    """A report without a limit of its own."""
    return report_by(TaskClock(), line)


def report_by(clock: TaskClock, line: Texts) -> Report:
    """A report of a task whose time is `clock`'s."""
    return Report(Channel("s", line, is_numbered=True), clock, output_bytes=1 << 30, is_streamed=True)


async def test_report_under_a_flood_sends_full_frames() -> None:
    """What is more than a frame stays for the next one, in whatever pieces it is read."""
    line = Texts()
    report = report_over(line)
    await report.begin(0, "flood")
    piece = b"x" * (MAX_TEXT_BYTES * 3 // 4)
    for _ in range(WINDOW_BYTES // len(piece)):
        await report.feed("stdout", piece)
    assert line.sizes == [MAX_TEXT_BYTES] * (len(piece) * (WINDOW_BYTES // len(piece)) // MAX_TEXT_BYTES)


async def test_report_at_a_commands_end_sends_the_rest() -> None:
    """Nothing stays behind: the command's end comes after all of its output."""
    line = Texts()
    report = report_over(line)
    await report.begin(0, "flood")
    await report.feed("stdout", b"x" * (MAX_TEXT_BYTES + 1))
    assert line.sizes == [MAX_TEXT_BYTES]
    await report.end(Ending(None, 0, "exit"))
    assert line.sizes == [MAX_TEXT_BYTES, 1]


async def test_report_catches_up_as_far_as_there_is_credit() -> None:
    """What is gathered and what is still in the pipes goes out; of more than the credit nothing is even read."""
    line = Texts()
    report = report_over(line)
    await report.begin(0, "flood")
    await report.feed("stdout", b"gathered")
    pipes: list[tuple[Stream, bytes]] = [("stdout", b"x" * MAX_TEXT_BYTES)] * 10
    await report.catch_up(lambda: pipes.pop() if pipes else None)
    assert sum(line.sizes) == WINDOW_BYTES
    assert len(pipes) == 10 - WINDOW_BYTES // MAX_TEXT_BYTES


async def test_report_tells_nothing_while_the_task_stands_still() -> None:
    """Not even what new credit has come for; all of it comes when the task goes on."""
    line, clock = Texts(), TaskClock()
    report = report_by(clock, line)
    await report.begin(0, "flood")
    await report.feed("stdout", b"x" * 10)
    clock.stop()
    end = asyncio.create_task(report.end(Ending(None, 0, "exit")))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.shield(end)
    assert line.sizes == []
    clock.go_on()
    await end
    assert line.sizes == [10]
