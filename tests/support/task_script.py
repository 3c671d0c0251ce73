"""The task language of the fake sandbox, run on asyncio's timers.

One command a line; words that a shell knows too mean there what they mean here:

    echo TEXT [>&2]    true    false    exit N    sleep SECONDS    seq N    cat [PATH]    wc -c PATH    yes
    stderr TEXT        lines N (`line 1` … `line N`)          sleepy N MS (the same, MS apart)
    blocks N (of 16 KiB each)
    fail CODE          hang (until ended)                     trap (until ended, and deaf to cancel)
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol


class Session(Protocol):
    """What a command can do to the session it runs in."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """The task's files by path."""

    async def output(self, stream: str, text: str, index: int) -> None:
        """Send output, once it is allowed."""

    async def read(self) -> str | None:
        """The next of standard input, or None at its end."""

    def go_deaf(self) -> None:
        """Take no notice of cancel any more."""


async def elapse(seconds: float) -> None:
    """Let `seconds` of the loop's time pass: what a script is told to do, not a way to wait for something."""
    loop = asyncio.get_running_loop()
    passed: asyncio.Future[None] = loop.create_future()
    timer = loop.call_later(seconds, _end, passed)
    try:
        await passed
    finally:
        timer.cancel()


def _end(passed: "asyncio.Future[None]") -> None:
    if not passed.done():  # whoever waits may have been cancelled in this turn of the loop
        passed.set_result(None)


async def run_command(text: str, *, session: Session, record: dict[str, Any], index: int) -> int:
    """Run the command `text`, note its output in `record`, and return its exit code."""
    return await _Script(session, record, index).run(text)


def block(number: int) -> str:
    """What `blocks` prints: 16 KiB that can be told from the others'."""
    return f"{number:01023}\n" * 16


class _Script:
    """One command."""

    def __init__(self, session: Session, record: dict[str, Any], index: int) -> None:
        self._session = session
        self._record = record
        self._index = index

    async def run(self, text: str) -> int:
        """Run `text` and return its exit code."""
        word, _, rest = text.partition(" ")
        words: dict[str, Callable[[str], Awaitable[int]]] = {
            "echo": self._echo,
            "stderr": self._stderr,
            "exit": self._exit,
            "fail": self._exit,
            "sleep": self._sleep,
            "seq": self._seq,
            "lines": self._lines,
            "sleepy": self._sleepy,
            "blocks": self._blocks,
            "cat": self._cat,
            "wc": self._wc,
            "yes": self._yes,
            "hang": self._hang,
            "trap": self._trap,
            "true": lambda _: self._exit("0"),
            "false": lambda _: self._exit("1"),
        }
        if word in words:
            return await words[word](rest)
        await self._print(f"{word}: not found\n", "stderr")
        return 127

    async def _print(self, text: str, stream: str = "stdout") -> int:
        self._record[stream] = (self._record[stream] + text)[-65536:]
        await self._session.output(stream, text, self._index)
        return 0

    async def _echo(self, rest: str) -> int:
        if rest.endswith(" >&2"):
            return await self._stderr(rest.removesuffix(" >&2"))
        return await self._print(rest + "\n")

    async def _stderr(self, rest: str) -> int:
        return await self._print(rest + "\n", "stderr")

    async def _exit(self, rest: str) -> int:
        return int(rest)

    async def _sleep(self, rest: str) -> int:
        await elapse(float(rest))
        return 0

    async def _seq(self, rest: str) -> int:
        for number in range(1, int(rest) + 1):
            await self._print(f"{number}\n")
        return 0

    async def _lines(self, rest: str) -> int:
        return await self._sleepy(f"{rest} 0")

    async def _sleepy(self, rest: str) -> int:
        count, milliseconds = rest.split()
        for number in range(1, int(count) + 1):
            await elapse(int(milliseconds) / 1000)
            await self._print(f"line {number}\n")
        return 0

    async def _blocks(self, rest: str) -> int:
        for number in range(1, int(rest) + 1):
            await self._print(block(number))
        return 0

    async def _cat(self, rest: str) -> int:
        if not rest:
            while (text := await self._session.read()) is not None:
                await self._print(text)
            return 0
        data = self._session.files.get(rest)
        if data is None:
            await self._print(f"cat: {rest}: No such file or directory\n", "stderr")
            return 1
        text = data.decode(errors="replace")
        for start in range(0, len(text), 16384):
            await self._print(text[start : start + 16384])
        return 0

    async def _wc(self, rest: str) -> int:
        path = rest.removeprefix("-c ")
        return await self._print(f"{len(self._session.files.get(path) or b'')} {path}\n")

    async def _yes(self, _: str) -> int:
        while True:
            await self._print("y\n" * 4096)

    async def _hang(self, _: str) -> int:
        await asyncio.get_running_loop().create_future()
        return 0

    async def _trap(self, _: str) -> int:
        self._session.go_deaf()
        return await self._hang("")
