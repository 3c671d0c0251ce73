"""A session: one task in one jail, from its files to its one last frame."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from sandbox_bridge.local.errors import FileError, JailError, JailLostError
from sandbox_bridge.local.jail.jail import Jail, JailSize
from sandbox_bridge.local.jail.warm import WarmJails
from sandbox_bridge.local.session.background import running_beside
from sandbox_bridge.local.session.channel import Channel
from sandbox_bridge.local.session.collecting import Collection
from sandbox_bridge.local.session.endings import (
    Ending,
    end_frame,
    file_ending,
    status_of,
    stop_ending,
)
from sandbox_bridge.local.session.file_sender import FileSender
from sandbox_bridge.local.session.orders import Order, exec_order, is_serve, serve_order
from sandbox_bridge.local.session.report import Report
from sandbox_bridge.local.session.results import task_result
from sandbox_bridge.local.session.running import Runner
from sandbox_bridge.local.session.stdin import InputTooLargeError, TaskInput
from sandbox_bridge.local.session.steering import Steering
from sandbox_bridge.local.session.task_clock import TaskClock
from sandbox_bridge.local.session.watch import Watch
from sandbox_bridge.local.sites.ports import SitePorts
from sandbox_bridge.local.sites.sites import Keeper, KeptSite, Sites, open_sites
from sandbox_bridge.local.sites.visits import Visits
from sandbox_bridge.protocol import Command, EndReason
from sandbox_bridge.settings import SandboxSettings

Files = Iterable[tuple[str, Iterable[bytes]]]
MAX_WISHES = 16
"""Pauses and resumes that wait for their turn; who asks more often has an answer coming."""
_OWN_FAILURES = {"command_failed", "timeout"}
"""Ends of a command that the task may take in its stride; a limit is the whole task's."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """What all sessions of a service share."""

    settings: SandboxSettings
    jails: WarmJails
    isolation: dict[str, Any]
    site_ports: SitePorts
    visits: Visits
    keeper: Keeper


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a task's commands run in."""

    jail: Jail
    sites: Sites
    watch: Watch
    runner: Runner


class Session:
    """Runs `order`; what it says goes into `channel`, and may have to wait there."""

    def __init__(self, order: Order, place: Place, channel: Channel) -> None:
        self._order = order
        self._place = place
        self._channel = channel
        self._clock = TaskClock()
        self._report = Report(
            channel, self._clock, output_bytes=order.limits.output_bytes, is_streamed=order.stream
        )
        self._input = TaskInput() if order.stdin else None
        # True to pause, False to go on, in the order in which they came.
        self._wishes: asyncio.Queue[bool] = asyncio.Queue(MAX_WISHES)
        self._scene: _Scene | None = None
        self._watch: Watch | None = None
        # The task's wall clock. Expires early when the session is told to stop.
        self._scope: asyncio.Timeout | None = None
        self._stop_reason: EndReason | None = None
        # How its commands ended, where that was badly: no trouble with its files tells otherwise.
        self._failed: Ending | None = None
        self._file_sender: FileSender | None = None
        self._url: str | None = None
        self.site: KeptSite | None = None
        """What the task has left, once `run` has returned; whoever takes it closes it."""

    # --- what its bridge says -------------------------------------------------------------------------

    def grant_nowait(self, count: int) -> None:
        """Allow so many more bytes of output."""
        self._channel.credit.grant_nowait(count)

    def stop_nowait(self, reason: EndReason = "cancelled") -> None:
        """Have the session end for `reason`, soon; where it is over already, nothing happens."""
        if self._stop_reason is None:
            self._stop_reason = reason
            if self._scope is not None:
                self._clock.expire(self._scope)
            if self.site is not None:
                self.site.stop_nowait()

    def wish_nowait(self, *, paused: bool) -> None:
        """Have the task paused, or go on; its bridge is told when that is true."""
        with suppress(asyncio.QueueFull):
            self._wishes.put_nowait(paused)

    def put_input_nowait(self, text: str, *, eof: bool, seq: int | None) -> None:
        """Give the task something to read, unless it was given that before, or reads nothing."""
        if self._input is None:
            return
        try:
            self._input.put_nowait(text.encode(errors="replace"), eof=eof, seq=seq)
        except InputTooLargeError as error:
            log.warning("input_too_large", error=str(error))
            self.stop_nowait("disk")

    @property
    def input_seq(self) -> int:
        """The number of the last input that came."""
        return self._input.last_seq if self._input is not None else 0

    def resize_nowait(self, cols: int, rows: int) -> None:
        """Give the running command's terminal, if it has one, a new size."""
        if self._scene is not None:
            self._scene.jail.resize_nowait(cols, rows)

    # --- from its files to its end --------------------------------------------------------------------

    async def run(self, files: Files) -> dict[str, Any]:
        """Run the task with `files`; returns its last frame, without the id.

        Its jail is gone then, unless the task has left a `site`.
        """
        try:
            ending = await self._in_jail(files)
        except JailError as error:
            log.warning("jail_not_made", error=str(error))
            ending = Ending("sandbox_lost", None, "lost", f"no jail could be made: {error}")
        finally:
            if self._input is not None:
                self._input.close()
        await self._report.cut_short(ending)
        return self._last_frame(ending)

    async def _in_jail(self, files: Files) -> Ending:
        async with AsyncExitStack() as stack:
            ending = await self._in_time(files, stack)
            scene, self._scene = self._scene, None
            if scene is not None:
                self._url = scene.sites.url
                if ending.code is None and self._order.ends_in_serve:
                    await self._keep_site(scene, stack)
            return ending

    async def _in_time(self, files: Files, stack: AsyncExitStack) -> Ending:
        try:
            async with self._clock.timeout(self._order.limits.timeout_s) as self._scope:
                if self._stop_reason is not None:
                    return stop_ending(self._stop_reason)
                self._scene = await self._enter_jail(stack)
                return await self._watched(self._scene, files)
        except TimeoutError:
            return self._failed or await self._wind_down(self._scene)
        except JailLostError as error:
            return self._failed or self._lost(self._scene, error)
        finally:
            self._scope = None

    async def _enter_jail(self, stack: AsyncExitStack) -> _Scene:
        limits = self._order.limits
        size = JailSize(limits.disk_mb, limits.processes, limits.memory_mb, network=limits.network == "full")
        jail = await stack.enter_async_context(self._place.jails.take(size))
        sites = open_sites(jail, self._place.site_ports, self._place.visits, self._report.tell)
        watch = Watch(jail.cage, limits, self._clock, self.stop_nowait)
        runner = Runner(jail, self._report, watch.moved, grace_s=self._place.settings.cancel_grace_s)
        return _Scene(jail, await stack.enter_async_context(sites), watch, runner)

    async def _watched(self, scene: _Scene, files: Files) -> Ending:
        steering = Steering(scene.jail.cage, self._clock, self._channel, scene.runner.catch_up)
        try:
            async with running_beside(
                scene.watch.run(lambda: self._report.is_held_back), steering.run(self._wishes.get)
            ):
                ending = await self._work(scene, files)
                self._failed = ending if ending.code is not None else None
                ending = await self._give_back(scene, ending) if self._order.collect else ending
                # Nobody comes to his end who stands still.
                await self._clock.until_going()
                return ending
        finally:
            # However it ended: nobody dies politely who stands still.
            await steering.thaw()

    def _lost(self, scene: _Scene | None, error: JailLostError) -> Ending:
        if self._stop_reason is not None:
            return stop_ending(self._stop_reason)
        ending = Ending("command_failed", None, "lost", f"the jail died: {error}")
        return scene.watch.judge(ending) if scene is not None else ending

    async def _keep_site(self, scene: _Scene, stack: AsyncExitStack) -> None:
        if scene.sites.is_serving:
            await scene.sites.stop_watching()
            self.site = KeptSite(scene.jail, scene.sites, stack.pop_all())
            self._watch = scene.watch

    async def stay(self, idle_s: float) -> None:
        """Wait until nobody wants the `site` that the task has left, which still has to keep its limits."""
        if self.site is not None and self._watch is not None:
            async with running_beside(self._watch.run(lambda: True)):
                await self.site.wait(idle_s)

    async def _work(self, scene: _Scene, files: Files) -> Ending:
        try:
            await scene.jail.write_files(files)
        except FileError as error:
            return file_ending(error)
        scene.watch.moved()
        ending = Ending(None, None, None)
        for index, command in enumerate(self._order.commands):
            ending = await self._command(scene, index, command)
            if ending.code is not None and not (command.continue_on_error and ending.code in _OWN_FAILURES):
                return ending
        return Ending(None, ending.exit_code, ending.reason)

    async def _give_back(self, scene: _Scene, ending: Ending) -> Ending:
        """Send the files that the task gives back, those of a failed one, too."""
        if not scene.sites.is_serving:
            scene.jail.sweep_nowait()
        python = self._place.jails.profile.python
        collection = Collection(scene.jail, self._order.collect, self._order.collect_bytes, python=python)
        self._file_sender = FileSender(collection, self._channel)
        await self._file_sender.run(scene.watch.moved)
        return scene.watch.judge(ending)

    async def _wind_down(self, scene: _Scene | None) -> Ending:
        """Stop what runs: TERM now; what is left after the grace dies with its jail."""
        reason = self._stop_reason or "timeout"
        exit_code = None
        if scene is not None and self._report.running is not None and self._report.running.ending is None:
            if reason == "memory":
                scene.watch.kill_nowait()
            with suppress(TimeoutError, JailLostError):
                exit_code = await scene.runner.terminate()
        ending = stop_ending(reason, exit_code)
        # Who cancels a task need not be told what it would have died of.
        return ending if scene is None or reason == "cancelled" else scene.watch.judge(ending)

    # --- one command ----------------------------------------------------------------------------------

    async def _command(self, scene: _Scene, index: int, command: Command) -> Ending:
        await self._report.begin(index, command.text)
        port = scene.sites.free_port() if is_serve(command) else None
        if port is not None:
            await scene.jail.start(serve_order(command, port))
            ending = await self._until_ended(scene, command)
        else:
            # A terminal has no other way to say that there is nothing to read.
            has_stdin = self._input is not None or command.tty is not None
            await scene.jail.start(exec_order(command, stdin=has_stdin))
            async with running_beside(self._feed(scene)):
                ending = await self._until_ended(scene, command)
        ending = scene.watch.judge(ending)
        if port is not None and ending.code is None and not await scene.sites.serve(port):
            ending = Ending("command_failed", None, "lost", "the site was put up, but does not answer")
        await self._report.end(ending)
        return ending

    async def _feed(self, scene: _Scene) -> None:
        """Give the command to read what comes, until an end of input."""
        while self._input is not None and (piece := await self._input.next()):
            scene.watch.moved()
            await scene.jail.write_stdin(piece)
            self._input.hand_over()
            if (taken_seq := self._input.news()) is not None:
                await self._channel.tell_input_taken(taken_seq)
        scene.jail.close_stdin_nowait()

    async def _until_ended(self, scene: _Scene, command: Command) -> Ending:
        """Until the command's end, which comes when it has taken too long at the latest; the jail stays."""
        try:
            async with self._clock.timeout(command.timeout_s):
                return await scene.runner.until_exit()
        except TimeoutError:
            return await scene.runner.stop()

    def _last_frame(self, ending: Ending) -> dict[str, Any]:
        result = task_result(
            status_of(ending),
            self._report.transcript,
            exit_code=ending.exit_code,
            url=self._url,
            files=self._file_sender.files if self._file_sender is not None else [],
            isolation=_isolation(self._place, self._order),
        )
        if self._file_sender is not None and self._file_sender.left_out != 0:
            result["files_left_out"] = self._file_sender.left_out
        return end_frame(ending, result)


def _isolation(place: Place, order: Order) -> dict[str, Any]:
    """What held of a task: hello's words, but for a network that a task may have and this one had not."""
    is_networked = order.limits.network == "full" or place.isolation["tier"] == "none"
    return place.isolation | {"network": is_networked}
