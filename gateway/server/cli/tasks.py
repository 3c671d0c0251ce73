"""The commands that talk to a gateway: submit, watch, tasks, files, pause, resume, cancel, input."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Self, TextIO

from gateway.client.errors import ClientError, RequestError
from gateway.client.files import FilesError
from gateway.client.session import Mode, connect
from gateway.client.task import TaskHandle
from gateway.server.cli.door import Door, door, needs_no_url
from gateway.server.cli.failures import FAILED_EXIT, USAGE_EXIT, words_of
from gateway.server.cli.input import asked, standard_input
from gateway.server.cli.orders import AgentOrder, Order, json_or_text
from gateway.server.cli.output import (
    CANCELLED_EXIT,
    SPINNER,
    Printer,
    columns_of,
    discard_output,
    exit_code,
    printable,
    unwritten,
)
from gateway.server.cli.table import table

__all__ = ["door"]
PIPE_CLOSED_EXIT: Final = 141
"""What a shell reports of a process that SIGPIPE ended."""
TICK_S: Final = 0.2
NO_FILES: Final = "no files came back: those that --collect matches do, once the task has ended"

Wish = Literal["cancel", "pause", "resume"]


def submit(door: Door, order: Order | AgentOrder, *, detach: bool, as_json: bool) -> int:
    """Submit, and follow to the end unless `detach`; the exit code."""
    return Command(door, as_json=as_json).run(lambda command: command.submit(order, detach=detach))


def watch(door: Door, task_id: str, *, after_seq: int, as_json: bool) -> int:
    """Follow a task to its end; the exit code."""
    return Command(door, as_json=as_json).run(lambda command: command.watch(task_id, after_seq))


def list_tasks(door: Door, filters: Mapping[str, Any], *, as_json: bool) -> int:
    """Print the newest tasks; the exit code."""
    return Command(door, as_json=as_json).run(lambda command: command.list_tasks(filters))


def files(door: Door, task_id: str, *, folder: Path | None, as_json: bool) -> int:
    """Print the files that a task gave back, or write them below `folder`; the exit code."""
    return Command(door, as_json=as_json).run(lambda command: command.files(task_id, folder))


def wish(door: Door, task_id: str, wished: Wish, *, reason: str | None, as_json: bool) -> int:
    """Ask for a task's end, a pause of it, or the end of that; the exit code."""
    return Command(door, as_json=as_json).run(lambda command: command.wish(task_id, wished, reason))


def send_input(door: Door, task_id: str, text: str | None, *, eof: bool) -> int:
    """Send a line, the end, or what comes on standard input; the exit code."""
    return Command(door, as_json=False).run(lambda command: command.send_input(task_id, text, eof=eof))


def answer(door: Door, task_id: str, key: str, text: str) -> int:
    """Answer what a task asks; the exit code."""
    return Command(door, as_json=False).run(lambda command: command.answer(task_id, key, text))


class Command:
    """One command under way: what it has printed, and the task that it follows."""

    def __init__(self, door: Door, *, as_json: bool) -> None:
        self._door = door
        self._as_json = as_json
        self._printer = Printer(
            sys.stdout,
            sys.stderr,
            as_json=as_json,
            terminal=_draws(sys.stderr),
            columns=partial(columns_of, sys.stderr),
        )
        self._task: TaskHandle | None = None
        self._may_ask = sys.stdin.isatty() and sys.stderr.isatty() and not as_json

    def run(self, action: Callable[[Self], Coroutine[Any, Any, int]]) -> int:
        """Carry `action` out; every way to fail becomes one line and an exit code."""
        try:
            return asyncio.run(action(self))
        except KeyboardInterrupt:
            return self._left(CANCELLED_EXIT)
        except BrokenPipeError:
            # Whoever read our output has seen enough.
            discard_output()
            return self._left(PIPE_CLOSED_EXIT)
        except UnicodeEncodeError:
            return self._refuse(USAGE_EXIT, "an argument is not UTF-8, and nothing else can be sent")
        except OSError as error:
            # A file has a name, and our output has none.
            if error.filename is not None:
                return self._left(self._refuse(FAILED_EXIT, f"{error.filename}: {error.strerror}"))
            return self._unwritten(error)
        except FilesError as error:
            return self._refuse(USAGE_EXIT, str(error))
        except ClientError as error:
            return self._refuse(*words_of(error, self._door.url))

    async def submit(self, order: Order | AgentOrder, *, detach: bool) -> int:
        """See `submit`."""
        options, files = order.options()
        async with connect(self._door.url, token=self._door.token, on_state=self._printer.state) as gateway:
            mode: Mode = "background" if detach else "streaming"
            task = await gateway.submit(mode=mode, files=files, **options)
            if not detach:
                if isinstance(order, Order) and order.stdin and not self._as_json:
                    self._printer.note(f"to send it input, from elsewhere: gateway input {task.task_id} …")
                code = await self._follow(task)
                if isinstance(order, Order) and order.globs:
                    folder = order.output or Path()
                    self._tell_of(await task.download(folder), folder)
                return code
            self._print(json.dumps(task.task) if self._as_json else task.task_id)
            return 0

    async def watch(self, task_id: str, after_seq: int) -> int:
        """See `watch`."""
        async with connect(self._door.url, token=self._door.token, on_state=self._printer.state) as gateway:
            return await self._follow(await gateway.subscribe(task_id, after_seq))

    async def list_tasks(self, filters: Mapping[str, Any]) -> int:
        """See `list_tasks`."""
        async with connect(self._door.url, token=self._door.token) as gateway:
            given = {name: value for name, value in filters.items() if value is not None}
            page = await gateway.list_tasks(**given)
        tasks = page["tasks"]
        if self._as_json:
            for task in tasks:
                self._print(json.dumps(task, ensure_ascii=False))
        elif tasks:
            columns = columns_of(sys.stdout) if sys.stdout.isatty() else None
            self._print(table(tasks, now=datetime.now(UTC), columns=columns))
        else:
            self._printer.note("no tasks")
        if page["cursor"] and not self._as_json:
            self._printer.note(f"these are the newest {len(tasks)}; --limit shows more")
        return 0

    async def wish(self, task_id: str, wished: Wish, reason: str | None) -> int:
        """See `wish`."""
        async with connect(self._door.url, token=self._door.token) as gateway:
            task = gateway.task(task_id)
            await {"cancel": task.cancel, "pause": task.pause, "resume": task.resume}[wished](reason)
        self._print(json.dumps(task.task) if self._as_json else f"{task_id} {_state_of(task.task, wished)}")
        return 0

    async def send_input(self, task_id: str, text: str | None, *, eof: bool) -> int:
        """See `send_input`."""
        async with connect(self._door.url, token=self._door.token, on_state=self._printer.state) as gateway:
            task = gateway.task(task_id)
            if text is not None:
                await _send(task, f"{text}\n", eof=eof)
            elif eof:
                await _send(task, "", eof=True)
            else:
                async for piece in standard_input():
                    await _send(task, piece, eof=False)
                await _send(task, "", eof=True)
        return 0

    async def answer(self, task_id: str, key: str, text: str) -> int:
        """See `answer`."""
        async with connect(self._door.url, token=self._door.token, on_state=self._printer.state) as gateway:
            await _send(gateway.task(task_id), json_or_text(text), key=key)
        return 0

    async def files(self, task_id: str, folder: Path | None) -> int:
        """See `files`."""
        async with connect(self._door.url, token=self._door.token) as gateway:
            if folder is not None:
                self._tell_of(await gateway.http.download(task_id, folder), folder)
                return 0
            files = await gateway.http.files(task_id)
        for file in files:
            self._print(
                json.dumps(file) if self._as_json else f"{file['size']:>10} {printable(file['path'])}"
            )
        if not (files or self._as_json):
            self._printer.note(NO_FILES)
        return 0

    def _tell_of(self, written: Sequence[Path], folder: Path) -> None:
        if written:
            self._printer.note(f"{len(written)} file{'s' * (len(written) != 1)} in {folder}")
        else:
            self._printer.note(NO_FILES)

    async def _follow(self, task: TaskHandle) -> int:
        self._task = task
        if not task.recovered:
            self._printer.note("the beginning of its log is not kept any more")
        ticking = _Ticker(self._printer.tick)
        try:
            async for event in task:
                self._printer.show(event)
        finally:
            ticking.stop()
        self._printer.finish(task.task)
        return exit_code(task.task)

    def _left(self, code: int) -> int:
        task = self._task
        if task is None or task.ended:
            return code
        here = self._door.url
        url = "" if needs_no_url(here) else f" --url {here}"
        if self._may_ask and asked("cancel the task? It goes on otherwise."):
            return self._cancel(task.task_id, code)
        self._printer.note(
            f"the task goes on. To see the rest: gateway watch {task.task_id} --after {task.last_seq}{url}"
        )
        self._printer.note(f"to end it: gateway cancel {task.task_id}{url}")
        return code

    def _cancel(self, task_id: str, code: int) -> int:
        """Cancel what was followed; `code` is what a shell is told, unless that fails."""
        self._task = None
        return self.run(lambda command: command.wish(task_id, "cancel", None)) or code

    def _unwritten(self, error: OSError) -> int:
        discard_output()
        return self._left(self._refuse(FAILED_EXIT, unwritten(error)))

    def _refuse(self, code: int, message: str) -> int:
        self._printer.note(message)
        return code

    def _print(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _draws(stream: TextIO) -> bool:
    """Whether a line there can be drawn over and over: no terminal that is `dumb`, as Emacs's, or writes ASCII."""
    try:
        SPINNER.encode(stream.encoding)
    except UnicodeEncodeError:
        return False
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class _Ticker:
    """Calls `tick` now and then, until stopped."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._loop = asyncio.get_running_loop()
        self._again()

    def _again(self) -> None:
        self._tick()
        self._timer = self._loop.call_later(TICK_S, self._again)

    def stop(self) -> None:
        """No more ticks."""
        self._timer.cancel()


def _state_of(task: Mapping[str, Any], wished: Wish) -> str:
    """What a shell is told of a task of which something was wished."""
    true, soon = {
        "cancel": ("cancelled", "will be cancelled in a moment"),
        "pause": ("paused", "will be paused in a moment"),
        "resume": ("goes on", "will go on in a moment"),
    }[wished]
    is_true = (task["status"] != "paused") if wished == "resume" else (task["status"] == true)
    return true if is_true else soon


async def _send(task: TaskHandle, data: Any, *, eof: bool = False, key: str | None = None) -> None:
    """Send `data`, and where too much waits to be taken, wait too."""
    while True:
        try:
            return await task.send_input(data, eof=eof, key=key)
        except RequestError as error:
            if error.code not in {"overloaded", "rate_limited"}:
                raise
            await asyncio.sleep(error.details.get("retry_after_ms", 1000) / 1000)
