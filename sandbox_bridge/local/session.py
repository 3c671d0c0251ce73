"""A session: one task in one jail, from its files to its one last frame."""

import asyncio
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from sandbox_bridge.local.agent.frames import STDERR, STDOUT
from sandbox_bridge.local.channel import Channel
from sandbox_bridge.local.endings import Ending, command_ending, end_frame, file_ending, status_of
from sandbox_bridge.local.errors import FileError, JailError, JailLostError
from sandbox_bridge.local.jail import Jail, JailSize
from sandbox_bridge.local.orders import Order, exec_order, is_serve, serve_order
from sandbox_bridge.local.output import GATHER_S, MAX_TEXT_BYTES, Gap, OutputFlow, Text
from sandbox_bridge.local.results import (
    MAX_COMMAND_TEXT_CHARS,
    Transcript,
    command_progress,
    command_record,
    gap_progress,
    shorten,
    task_result,
)
from sandbox_bridge.local.sites import Keeper, KeptSite, Sites, open_sites
from sandbox_bridge.local.street import Street
from sandbox_bridge.local.visits import Visits
from sandbox_bridge.local.warm import WarmJails
from sandbox_bridge.protocol import Command, EndReason, Stream
from sandbox_bridge.settings import SandboxSettings

Files = Iterable[tuple[str, Iterable[bytes]]]
_STREAM_OF: dict[bytes, Stream] = {STDOUT: "stdout", STDERR: "stderr"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """What all sessions of a service share."""

    settings: SandboxSettings
    jails: WarmJails
    isolation: dict[str, Any]
    street: Street
    visits: Visits
    keeper: Keeper


@dataclass(slots=True)
class _Running:
    """The command that runs now."""

    index: int
    text: str
    started_at: float
    ending: Ending | None = None  # once it is known


class Session:
    """Runs `order`; what it says goes into `channel`, and may have to wait there."""

    def __init__(self, order: Order, place: Place, channel: Channel) -> None:
        self._order = order
        self._place = place
        self._channel = channel
        self._credit = channel.credit
        self._flow = OutputFlow(order.limits.output_bytes, deliver=order.stream)
        self._transcript = Transcript()
        self._running: _Running | None = None
        self._last_sent_at = 0.0
        self._now = asyncio.get_running_loop().time
        # The task's wall clock. Expires early when the session is told to stop.
        self._scope: asyncio.Timeout | None = None
        self._stop_reason: EndReason | None = None
        self._sites: Sites | None = None
        self.site: KeptSite | None = None
        """What the task has left, once `run` has returned; whoever takes it closes it."""

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
        """Run the task with `files`; returns its last frame, without the id.

        Its jail is gone then, unless the task has left a `site`.
        """
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
        limits = self._order.limits
        size = JailSize(disk_mb=limits.disk_mb, processes=limits.processes)
        deadline = self._now() + (0 if self._stop_reason else limits.timeout_s)
        async with AsyncExitStack() as stack:
            jail = None
            try:
                async with asyncio.timeout_at(deadline) as self._scope:
                    jail = await stack.enter_async_context(self._place.jails.take(size))
                    sites = open_sites(jail, self._place.street, self._place.visits, self._tell)
                    self._sites = await stack.enter_async_context(sites)
                    ending = await self._work(jail, self._sites, files)
            except TimeoutError:
                return await self._wind_down(jail)
            finally:
                self._scope = None
            if ending.code is None and self._order.ends_in_serve and self._sites.is_serving:
                await self._sites.stop_watching()
                self.site = KeptSite(jail, self._sites, stack.pop_all())
            return ending

    async def _work(self, jail: Jail, sites: Sites, files: Files) -> Ending:
        try:
            await jail.write_files(files)
        except FileError as error:
            return file_ending(error)
        ending = Ending(None, None, None)
        for index, command in enumerate(self._order.commands):
            ending = await self._command(jail, sites, index, command)
            if ending.code is not None and not command.continue_on_error:
                return ending
        return Ending(None, ending.exit_code, ending.reason)

    async def _wind_down(self, jail: Jail | None) -> Ending:
        """Stop what runs: TERM now; what is left after the grace dies with its jail."""
        reason = self._stop_reason or "timeout"
        exit_code = None
        if jail is not None and self._running is not None and self._running.ending is None:
            with suppress(TimeoutError, JailLostError):
                exit_code = await self._terminate(jail, self._running)
        words = (
            "cancelled"
            if reason == "cancelled"
            else f"still running after {self._order.limits.timeout_s:g} s"
        )
        return Ending(reason, exit_code, reason, words)

    async def _terminate(self, jail: Jail, running: _Running) -> int | None:
        """The exit code of a command that ends on our TERM. Raises `TimeoutError`, `JailLostError`."""
        jail.signal_nowait(signal.SIGTERM)
        async with asyncio.timeout(self._place.settings.cancel_grace_s):
            ended = await self._until_exit(jail)
        if ended.was_signalled:
            return ended.exit_code
        # It had ended by itself; what was stopped is only what would have come.
        self._keep_record(running, ended)
        return None

    # --- one command ----------------------------------------------------------------------------------

    async def _command(self, jail: Jail, sites: Sites, index: int, command: Command) -> Ending:
        self._running = _Running(index, shorten(command.text, MAX_COMMAND_TEXT_CHARS), self._now())
        await self._tell_command(self._running, exit_code=None)
        port = sites.free_port() if is_serve(command) else None
        await jail.start(exec_order(command) if port is None else serve_order(command, port))
        try:
            async with asyncio.timeout(command.timeout_s):
                ending = await self._until_exit(jail)
        except TimeoutError:
            ending = await self._stop_command(jail)
        if port is not None and ending.code is None and not await sites.serve(port):
            ending = Ending("command_failed", None, "lost", "the site was put up, but does not answer")
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
            await self._tell(gap_progress(item))
            return
        index = self._running.index if self._running is not None else 0
        await self._tell(
            {"kind": "output", "stream": item.stream, "text": item.data.decode(), "command": index},
            cost=len(item.data),
        )

    async def _tell_command(
        self, running: _Running, *, exit_code: int | None, reason: EndReason | None = None
    ) -> None:
        await self._tell(command_progress(running.index, running.text, exit_code, reason))

    async def _tell(self, progress: dict[str, Any], *, cost: int = 0) -> None:
        if self._order.stream:
            await self._channel.send({"type": "task_progress", "progress": progress}, cost=cost)

    def _last_frame(self, ending: Ending) -> dict[str, Any]:
        result = task_result(
            status_of(ending),
            self._transcript,
            exit_code=ending.exit_code,
            url=self._sites.url if self._sites is not None else None,
            isolation=self._place.isolation,
        )
        return end_frame(ending, result)
