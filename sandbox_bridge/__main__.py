"""The command line of `sandbox-bridge`, also `python -m sandbox_bridge`."""

import asyncio
import errno
import functools
import logging
import os
import secrets
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from random import Random
from typing import Annotated, Any, NoReturn

import structlog
import typer
import uvloop
from pydantic import ValidationError

from sandbox_bridge.local.access import is_loopback
from sandbox_bridge.local.jail.bare import ISOLATION, bare_profile
from sandbox_bridge.local.jail.cages.finder import Cages, find_cages
from sandbox_bridge.local.jail.profile import Profile, counts_processes
from sandbox_bridge.local.jail.warm import warm_jails
from sandbox_bridge.local.join import Joiner, NotLetInError, door_of
from sandbox_bridge.local.open_files import open_files_of_jails
from sandbox_bridge.local.probe import ProbeError, find_profile, probe
from sandbox_bridge.local.server import Service, listen
from sandbox_bridge.local.session.session import Place
from sandbox_bridge.local.sites.ports import SitePorts
from sandbox_bridge.local.sites.sites import Keeper
from sandbox_bridge.local.sites.visits import Visits
from sandbox_bridge.local.watchdog import watchdog
from sandbox_bridge.settings import SandboxSettings

EXIT_USAGE = 2
EXIT_NO_JAIL = 3
EXIT_NOT_LET_IN = 4
_STOP_TIMEOUT_S = 5.0
"""For jails and sockets to go at our end; what is left then dies with the process."""

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
log = structlog.get_logger()


@app.callback()
def root() -> None:
    """Sandboxes for the gateway, and for anybody who speaks their protocol."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (SANDBOX_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks one (SANDBOX_PORT).")] = None,
    *,
    parent_stdin: Annotated[bool, typer.Option(help="End when standard input ends.")] = False,
    unsafe_no_isolation: Annotated[
        bool, typer.Option(help="Let SANDBOX_ISOLATION=none run tasks without any jail.")
    ] = False,
) -> None:
    """Run tasks for whoever dials in at /ws, each in a jail of its own."""
    configure_logs()
    settings = read_settings(host, port)
    if settings.isolation == "none":
        check_unsafe(settings, is_wanted=unsafe_no_isolation)
    if parent_stdin and not stat.S_ISFIFO(os.fstat(0).st_mode) and not stat.S_ISSOCK(os.fstat(0).st_mode):
        fail("--parent-stdin: standard input is neither a pipe nor a socket", EXIT_USAGE)
    try:
        uvloop.run(run(settings, _serve, parent_stdin=parent_stdin))
    except ProbeError as error:
        fail(f"the sandbox does not start: {error}", EXIT_NO_JAIL)
    except OSError as error:
        fail(f"can't listen on {settings.host}:{settings.port}: {error.strerror or error}", EXIT_USAGE)


@app.command()
def join(
    url: Annotated[str, typer.Argument(help="The gateway, such as https://gateway.example.")],
    token: Annotated[
        str | None, typer.Option(help="Its token with the scope sandbox; better in SANDBOX_JOIN_TOKEN.")
    ] = None,
    *,
    parent_stdin: Annotated[bool, typer.Option(help="End when standard input ends.")] = False,
    unsafe_no_isolation: Annotated[
        bool, typer.Option(help="Let SANDBOX_ISOLATION=none run tasks without any jail.")
    ] = False,
) -> None:
    """Run tasks for the gateway at URL.

    It dials in there, and again whenever the connection breaks.
    """
    configure_logs()
    settings = read_settings("127.0.0.1", None)
    if settings.isolation == "none":
        check_unsafe(settings, is_wanted=unsafe_no_isolation)
    kept = settings.join_token.get_secret_value() if settings.join_token is not None else None
    try:
        joiner = functools.partial(_join, door=door_of(url), token=token or kept)
        uvloop.run(run(settings, joiner, parent_stdin=parent_stdin))
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    except ProbeError as error:
        fail(f"the sandbox does not start: {error}", EXIT_NO_JAIL)
    except NotLetInError as error:
        fail(str(error), EXIT_NOT_LET_IN)


def main() -> None:
    """The entry point of the installed command."""
    try:
        app(prog_name="sandbox-bridge")
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"sandbox-bridge: the output can't be written: {error.strerror}")


def read_settings(host: str | None, port: int | None) -> SandboxSettings:
    """Flags over the environment. Ends the process, saying why, where something is wrong with them."""
    flags: dict[str, Any] = {
        name: value for name, value in (("host", host), ("port", port)) if value is not None
    }
    try:
        settings = SandboxSettings(**flags)
    except ValidationError as error:
        # Not the error's own text: it would show the token.
        problems = [f"SANDBOX_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        fail("\n".join(problems), EXIT_USAGE)
    if settings.token is None and not is_loopback(settings.host):
        fail(
            f"--host {settings.host} lets other machines run code here: set SANDBOX_TOKEN (16 characters)",
            EXIT_USAGE,
        )
    return settings


def check_unsafe(settings: SandboxSettings, *, is_wanted: bool) -> None:
    """End the process, saying why, where tasks would run without a jail and nobody has said that they may."""
    if not is_wanted:
        fail("SANDBOX_ISOLATION=none runs tasks without any jail: say --unsafe-no-isolation, too", EXIT_USAGE)
    if not is_loopback(settings.host):
        fail(f"SANDBOX_ISOLATION=none is for loopback only, not for --host {settings.host}", EXIT_USAGE)


async def run(
    settings: SandboxSettings,
    work: Callable[[Place, asyncio.Event], Awaitable[None]],
    *,
    parent_stdin: bool,
) -> None:
    """Probe, `work`, and end on a signal or with the parent. Raises `ProbeError`, OSError, what `work` does."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if parent_stdin:
        loop.add_reader(0, _read_stdin, stopped)
    with watchdog() as group:
        cages = await find_cages(counts_processes=counts_processes(os.uname().release))
        with closing(cages):
            profile, isolation = await _prepare(settings, group, cages)
            site_ports = SitePorts(settings.host)
            visits, keeper = Visits(settings.max_visits), Keeper(settings.max_sites)
            async with warm_jails(profile, settings) as jails:
                await work(Place(settings, jails, isolation, site_ports, visits, keeper), stopped)


async def _prepare(settings: SandboxSettings, group: int, cages: Cages) -> tuple[Profile, dict[str, Any]]:
    """What jails are made of, and what is known to hold of them. Raises `ProbeError`, OSError."""
    open_files = open_files_of_jails(settings.open_files)
    if settings.isolation == "none":
        return bare_profile(group, open_files), ISOLATION
    profile = find_profile(group, open_files, cages, settings)
    return profile, await probe(profile, settings, cages)


def _service(place: Place) -> Service:
    return Service(place, sandbox_id=f"local-{secrets.token_hex(4)}", boot_id=secrets.token_hex(8))


async def _serve(place: Place, stopped: asyncio.Event) -> None:
    service = _service(place)
    async with listen(service, place.settings) as address:
        print(f"sandbox ready on {address}", flush=True)  # noqa: T201 - the one line on standard output
        log.info("sandbox_ready", address=address, isolation=place.isolation)
        await stopped.wait()
        _end_soon()


async def _join(place: Place, stopped: asyncio.Event, *, door: str, token: str | None) -> None:
    service = _service(place)
    joiner = Joiner(service, place.settings, door=door, token=token, random=Random())  # noqa: S311 - jitter
    log.info("sandbox_joining", door=door, isolation=place.isolation)
    try:
        async with asyncio.TaskGroup() as group:
            joining = group.create_task(joiner.run(), name="join")
            await stopped.wait()
            joining.cancel()
    except ExceptionGroup as group_of_one:
        raise group_of_one.exceptions[0] from None
    finally:
        _end_soon()
        await service.aclose()


def _end_soon() -> None:
    """Whatever hangs now, the process ends; a jail can't outlive it."""
    asyncio.get_running_loop().call_later(_STOP_TIMEOUT_S, os._exit, 0)


def _read_stdin(stopped: asyncio.Event) -> None:
    """A parent says nothing; its end is the end of our standard input, also when it was killed."""
    if not os.read(0, 4096):
        asyncio.get_running_loop().remove_reader(0)
        stopped.set()


def configure_logs() -> None:
    """Logs are JSON lines on standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # A stranger's broken handshake is no error of ours.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)


def fail(words: str, code: int) -> NoReturn:
    """Say why on standard error, and end."""
    typer.echo(words, err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
