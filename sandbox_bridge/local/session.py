"""A session: one task in one jail, from its files to its one last frame."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from typing import Any

import structlog

from sandbox_bridge.local.agent.main import EXITED, NOT_STARTED, STDERR, STDOUT
from sandbox_bridge.local.credit import Allowance
from sandbox_bridge.local.jail import FileError, Jail, JailError, JailLostError, JailSize
from sandbox_bridge.local.orders import Order, exec_frame
from sandbox_bridge.local.output import GATHER_S, MAX_TEXT_BYTES, Gap, OutputFlow, Text
from sandbox_bridge.local.profile import Profile
from sandbox_bridge.local.results import (
    MAX_COMMAND_TEXT_CHARS,
    Transcript,
    command_record,
    shorten,
    task_result,
)
from sandbox_bridge.protocol import Command, EndReason, Stream
from sandbox_bridge.settings import SandboxSettings

Files = Iterable[tuple[str, Iterable[bytes]]]
_STREAM_OF: dict[bytes, Stream] = {STDOUT: "stdout", STDERR: "stderr"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task, or one command of it, came to its end. `code` None is a good end."""

    code: str | None
    exit_code: int | None
    reason: EndReason | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What all sessions of a service share."""

    settings: SandboxSettings
    profile: Profile
    isolation: dict[str, Any]


@dataclass(slots=True)
class _Running:
    """The command that runs now."""

    index: int
    text: str
    started_at: float
    ending: Ending | None = None  # once it is known


class Session:
    """Runs `order`; `send_progress` takes each progress to the peer, and may wait for it."""

    def __init__(
        self,
        order: Order,
        place: Place,
        credit: Allowance,
        send_progress: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self._order = order
        self._place = place
        self._credit = credit
        self._send_progress = send_progress
        self._flow = OutputFlow(order.limits.output_bytes, deliver=order.stream)
        self._transcript = Transcript()
        self._running: _Running | None = None
        self._last_sent_at = 0.0
        self._now = asyncio.get_running_loop().time
        # The task's wall clock. Expires early when the session is told to stop.
        self._scope: asyncio.Timeout | None = None
        self._stop_reason: EndReason | None = None

    def grant_nowait(self, count: int) -> None:
        """Allow so many more bytes of output."""
        self._credit.grant_nowait(count)

    def stop_nowait(self) -> None:
        """Have the session end as cancelled, soon; where it is over already, nothing happens."""
        if self._stop_reason is None:
            self._stop_reason = "cancelled"
            if self._scope is not None:
                self._scope.reschedule(self._now())

    async def run(self, files: Files) -> dict[str, Any]:
        """Run the task with `files`; returns its last frame, without the id, once its jail is gone."""
        try:
            ending = await self._in_jail(files)
        except JailLostError as error:
            ending = Ending("command_failed", None, "lost", f"the jail died: {error}")
        except JailError as error:
            log.warning("jail_not_made", error=str(error))
            ending = Ending("sandbox_lost", None, "lost", f"no jail could be made: {error}")
        if self._running is not None:
            await self._close_command(self._running, ending)
        return self._last_frame(ending)

    async def _in_jail(self, files: Files) -> Ending:
        limits, settings = self._order.limits, self._place.settings
        size = JailSize(disk_mb=limits.disk_mb, processes=limits.processes)
        deadline = self._now() + (0 if self._stop_reason else limits.timeout_s)
        async with AsyncExitStack() as stack:
            jail = None
            try:
                async with asyncio.timeout_at(deadline) as self._scope:
                    jail = await stack.enter_async_context(Jail.open(self._place.profile, size, settings))
                    return await self._work(jail, files)
            except TimeoutError:
                return await self._wind_down(jail)
            finally:
                self._scope = None

    async def _work(self, jail: Jail, files: Files) -> Ending:
        try:
            await jail.write_files(files)
        except FileError as error:
            return file_ending(error)
        ending = Ending(None, None, None)
        for index, command in enumerate(self._order.commands):
            ending = await self._command(jail, index, command)
            if ending.code is not None and not command.continue_on_error:
                return ending
        return Ending(None, ending.exit_code, ending.reason)

    async def _wind_down(self, jail: Jail | None) -> Ending:
        """Stop what runs: TERM now; what is left after the grace dies with its jail."""
        reason = self._stop_reason or "timeout"
        exit_code = None
        if jail is not None and self._running is not None and self._running.ending is None:
            jail.signal_nowait(signal.SIGTERM)
            with suppress(TimeoutError, JailLostError):
                async with asyncio.timeout(self._place.settings.cancel_grace_s):
                    exit_code = (await self._until_exit(jail)).exit_code
        words = (
            "cancelled"
            if reason == "cancelled"
            else f"still running after {self._order.limits.timeout_s:g} s"
        )
        return Ending(reason, exit_code, reason, words)

    # --- one command ----------------------------------------------------------------------------------

    async def _command(self, jail: Jail, index: int, command: Command) -> Ending:
        self._running = _Running(index, shorten(command.text, MAX_COMMAND_TEXT_CHARS), self._now())
        await self._tell_command(self._running, exit_code=None)
        await jail.send(exec_frame(command))
        try:
            async with asyncio.timeout(command.timeout_s):
                ending = await self._until_exit(jail)
        except TimeoutError:
            ending = await self._stop_command(jail)
        await self._end_command(self._running, ending)
        return ending

    async def _stop_command(self, jail: Jail) -> Ending:
        """Stop the one command that took longer than its own `timeout_s`; the jail stays."""
        for number, patience_s in (
            (signal.SIGTERM, self._place.settings.cancel_grace_s),
            (signal.SIGKILL, 5.0),
        ):
            jail.signal_nowait(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    ended = await self._until_exit(jail)
                    return Ending("timeout", ended.exit_code, "timeout", "the command took too long")
        raise JailLostError("a command outlived its kill")

    async def _until_exit(self, jail: Jail) -> Ending:
        """Carry output until the command's end; cancelled, it has lost nothing and can be called again."""
        while True:
            frame = jail.next_nowait()
            if frame is None:
                await self._deliver_or_read(jail)
            elif frame[0] in _STREAM_OF:
                self._flow.feed(_STREAM_OF[frame[0]], frame[1])
                if self._flow.waiting_bytes >= MAX_TEXT_BYTES:
                    await self._deliver()
            else:
                return command_ending(*frame)

    async def _deliver_or_read(self, jail: Jail) -> None:
        due_at = self._last_sent_at + GATHER_S
        if not self._flow.is_waiting:
            await jail.fill()
        elif self._now() >= due_at:
            await self._deliver()
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await jail.fill()

    async def _end_command(self, running: _Running, ending: Ending) -> None:
        """The books of a command that ended by itself: all its output goes out, however long that takes."""
        self._keep_record(running, ending)
        await self._deliver()
        await self._tell_command(running, exit_code=ending.exit_code, reason=ending.reason)
        self._running = None

    async def _close_command(self, running: _Running, ending: Ending) -> None:
        """The books of a command that was stopped: what there is no credit for is dropped, and said so."""
        if running.ending is None:
            self._keep_record(running, ending)
        await self._deliver(wait=False)
        for gap in self._flow.give_up(ending.reason or "lost"):
            await self._send_item(gap)
        own = running.ending or ending
        await self._tell_command(running, exit_code=own.exit_code, reason=own.reason)
        self._running = None

    def _keep_record(self, running: _Running, ending: Ending) -> None:
        running.ending = ending
        record = command_record(
            running.text,
            self._flow.end_command(),
            exit_code=ending.exit_code,
            reason=ending.reason or "exit",
            duration_s=self._now() - running.started_at,
        )
        self._transcript.add(record)

    # --- frames ---------------------------------------------------------------------------------------

    async def _deliver(self, *, wait: bool = True) -> None:
        """Send all that is gathered, waiting for credit; or without `wait`, what there is credit for."""
        while self._flow.is_waiting:
            item = self._flow.take(self._credit.room_nowait())
            if item is not None:
                await self._send_item(item)
            elif wait:
                await self._credit.room()
            else:
                break
        self._last_sent_at = self._now()

    async def _send_item(self, item: Text | Gap) -> None:
        if isinstance(item, Gap):
            await self._tell(
                {
                    "kind": "output_gap",
                    "stream": item.stream,
                    "dropped_bytes": item.dropped_bytes,
                    "reason": item.reason,
                }
            )
            return
        self._credit.spend(len(item.data))
        index = self._running.index if self._running is not None else 0
        await self._tell(
            {"kind": "output", "stream": item.stream, "text": item.data.decode(), "command": index}
        )

    async def _tell_command(
        self, running: _Running, *, exit_code: int | None, reason: EndReason | None = None
    ) -> None:
        progress = {
            "kind": "command",
            "index": running.index,
            "command": running.text,
            "exit_code": exit_code,
        }
        await self._tell(progress if reason is None else progress | {"reason": reason})

    async def _tell(self, progress: dict[str, Any]) -> None:
        if self._order.stream:
            await self._send_progress(progress)

    def _last_frame(self, ending: Ending) -> dict[str, Any]:
        status = _STATUS_OF.get(ending.code, "failed")
        result = task_result(
            status, self._transcript, exit_code=ending.exit_code, isolation=self._place.isolation
        )
        if ending.code is None:
            return {"type": "task_completed", "result": result}
        info = {
            "code": ending.code,
            "exit_code": ending.exit_code,
            "reason": ending.reason,
            "result": result,
        }
        return {"type": "task_error", "error": ending.words or ending.code, "error_info": info}


_STATUS_OF = {None: "completed", "cancelled": "cancelled"}


def file_ending(error: FileError) -> Ending:
    """The end of a task whose files could not be written."""
    if error.errno in {ENOSPC, EDQUOT}:
        return Ending("resource_limit", None, "disk", "the files do not fit on the task's disk")
    return Ending("bad_input", None, None, f"a file can't be written: {error}")


def command_ending(kind: bytes, payload: bytes) -> Ending:
    """How a command ended, as the agent says. Raises `JailLostError` where that can't be."""
    if kind == NOT_STARTED:
        words = f"the command could not be started: {payload[:200].decode(errors='replace')}"
        return Ending("resource_limit", None, "processes", words)
    status = int.from_bytes(payload[:4], "big")
    if kind != EXITED or len(payload) != 5 or status > 0xFFFF:
        raise JailLostError("the agent sent nonsense")
    if not os.WIFEXITED(status):
        return Ending(
            "command_failed", None, "signal", f"the command was killed by signal {os.WTERMSIG(status)}"
        )
    exit_code = os.WEXITSTATUS(status)
    if exit_code == 0:
        return Ending(None, 0, "exit")
    if payload[4]:
        return Ending("resource_limit", exit_code, "disk", "the task's disk is full")
    return Ending("command_failed", exit_code, "exit", f"the command failed with exit code {exit_code}")
