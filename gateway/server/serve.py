"""`gateway serve`: the real process, with the real clock, threads and signals."""

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from gateway.agents.loading import AgentNotFoundError
from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.server import env_file, logs
from gateway.server.app import Gateway
from gateway.server.backends import limits_of
from gateway.server.checks.audit import audit
from gateway.server.checks.parts import environment, passed_over
from gateway.server.configuration import mistakes, settings_of
from gateway.server.data_dir import StartError
from gateway.server.embedded import problem_of_settings, share_of_sandboxes
from gateway.server.lasting_loop import LastingLoop
from gateway.server.sandbox_urls import check_sandbox_urls
from gateway.server.shutdown import leave_the_rest
from gateway.server.supervisor import Place, Supervisor, reserved
from gateway.server.world import World
from gateway.settings import Settings

READERS: Final = 2
"""Threads that read the store: reads are short, and SQLite lets them go beside the writer."""
NEW_OBJECTS: Final = 20_000
"""So many more objects than before, and those are looked over; some 4 MiB."""
OTHER_FILES: Final = 1000
"""Files open beside those of clients: the store's, the sandboxes', requests by HTTP, previews."""


def run(*, serves_clients: bool = True, unsafe_no_isolation: bool = False, **flags: Any) -> int:
    """Serve until told to stop; the exit code. `flags` are settings by field; None means not given.

    Without `serves_clients` it is a worker, which needs others to get tasks from.
    `unsafe_no_isolation`, which is no setting, so that nobody has said it but on purpose, lets the local sandbox
    run tasks without a jail.
    """
    if (unread := env_file.problem()) is not None:
        return _refused(unread)
    try:
        settings = settings_of(flags)
    except ValidationError as error:
        return _refused("; ".join(mistakes(error)))
    if unsafe_no_isolation and not settings.loopback:
        return _refused(f"--unsafe-no-isolation is for loopback only, not for {settings.host}")
    if settings.local_sandbox and (problem := problem_of_settings(unsafe_no_isolation=unsafe_no_isolation)):
        return _refused(problem)
    if settings.is_alone and not serves_clients:
        return _refused(
            "a worker shares its store with gateways: give all of them EVENT_BUS_BACKEND=redis and a store that"
            " several may open (sqlite or postgresql)"
        )
    if not serves_clients:
        settings = beside_others(settings)
    for finding in audit(settings):
        if finding.state == "fail":
            return _refused(f"GATEWAY_AUDIT_FILE: {finding.message}")
    logs.configure(settings.log_format, settings.log_level)
    for finding in (*environment({*env_file.names_in_file(), *os.environ}), *passed_over(settings)):
        logs.get().warning(finding.message, fix=finding.fix)
    _allow_files(settings.max_connections + OTHER_FILES)
    serve = partial(_run, serves_clients=serves_clients, unsafe_no_isolation=unsafe_no_isolation)
    try:
        return serve(settings) if settings.processes == 1 else _run_many(settings, serve)
    except (AgentNotFoundError, StartError, StoreUnavailableError) as error:
        return _refused(str(error))


def beside_others(settings: Settings) -> Settings:
    """A worker's port is for probes and previews: where nobody named one and the usual one is taken, any will do."""
    if "port" in settings.model_fields_set:
        return settings
    try:
        with reserved(settings.host, settings.port):
            return settings
    except StartError:
        return settings.model_copy(update={"port": 0})


def _run(settings: Settings, place: Place | None = None, **how: bool) -> int:
    with asyncio.Runner(loop_factory=LastingLoop) as runner:
        runner.run(_serve(settings, place, **how))
    return 0


def _run_many(settings: Settings, serve: Callable[[Settings, Place], int]) -> int:
    with reserved(settings.host, settings.port) as port:

        def serve_one(place: Place) -> int:
            os.environ |= share_of_sandboxes(settings.processes)
            try:
                own_port = settings.own_port(place.number, port)
                return serve(settings.of_process(place.number, port), replace(place, own_port=own_port))
            except (AgentNotFoundError, StartError, StoreUnavailableError) as error:
                return _refused(str(error))

        return Supervisor(serve_one, settings.processes, on_ready=_say_ready, log=logs.get()).run()


def _allow_files(wanted: int) -> None:
    """Raise the number of files we may have open: the usual limit of 1024 is for programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        logs.get().warning("fewer files may be open than all clients need", allowed=allowed, wanted=wanted)


def _spare_the_collector() -> None:
    """Have Python look for circles of objects less often: at its own pace that is a tenth of a busy gateway's time.

    What was loaded until now stays for good, and is not looked at again.
    """
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)


def _refused(why: str) -> int:
    sys.stderr.write(f"gateway: {why}\n")
    return 1


async def _serve(
    settings: Settings, place: Place | None, *, serves_clients: bool, unsafe_no_isolation: bool
) -> None:
    await check_sandbox_urls(settings.websocket_url)
    stop, now = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        (now if stop.is_set() else stop).set()

    _spare_the_collector()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    if place is not None:
        place.on_orphaned(loop, told)
    with (
        ThreadPoolExecutor(1, thread_name_prefix="store-writer") as writer,
        ThreadPoolExecutor(READERS, thread_name_prefix="store-reader") as readers,
    ):
        for problem in limits_of(settings):
            logs.get().warning(problem)
        own_port = None if place is None else place.own_port
        world = World(Clock(), writer, readers, unsafe_no_isolation, serves_clients, own_port)
        gateway = Gateway(settings, world, log=logs.get())
        say_ready = _say_ready if place is None else place.say_ready
        serving = loop.create_task(gateway.serve(ready=say_ready, stop=stop), name="gateway")
        hurry = loop.create_task(now.wait(), name="second signal")
        await asyncio.wait([serving, hurry], return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not serving.done():
            # Like a crash, which loses nothing; the embedded sandbox ends with our end of its input.
            gateway.leave_now()
            os._exit(1)
        await serving
    await leave_the_rest()


def _say_ready(url: str) -> None:
    sys.stdout.write(f"gateway ready on {url}\n")
    sys.stdout.flush()
