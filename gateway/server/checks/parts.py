"""The parts that `gateway check` tries on this machine alone. Each says what it found, and what mends it."""

import difflib
import json
import resource
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import SecretStr

from gateway.errors import StoreUnavailableError
from gateway.server.configuration import name_of
from gateway.server.data_dir import StartError, locked
from gateway.server.env_file import TOKEN, URL
from gateway.settings import Settings
from gateway.state.sqlite.inspection import time_sync
from sandbox_bridge.settings import SandboxSettings

SLOW_SYNC_S: Final = 0.05
"""A sync that takes longer is felt by whoever submits."""
LITTLE_ROOM: Final = 1 << 30
"""Bytes of free disk that are worth a warning."""
OF_CLIENTS: Final = frozenset({URL, TOKEN})
"""What the other commands read beside settings."""
FILES: Final = frozenset({"sqlite", "memory"})
"""Stores that are no server's."""
SPARE_FILES: Final = 200
"""Open files beside the clients' sockets."""
ANSWER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a part; `fix` says what to do about it."""

    part: str
    state: Literal["ok", "warn", "fail"]
    message: str
    fix: str | None = None


def environment(variables: Iterable[str]) -> Iterator[Finding]:
    """Misspelt settings, ours and our own sandbox's: they would be passed over without a word."""
    sandboxes = {f"SANDBOX_{field.upper()}" for field in SandboxSettings.model_fields}
    known = {name_of(field) for field in Settings.model_fields} | sandboxes | OF_CLIENTS
    for name in sorted(variables):
        if name.startswith(("GATEWAY_", "SANDBOX_")) and name not in known:
            (near, *_) = [*difflib.get_close_matches(name, known, 1, cutoff=0.8), None]
            yield Finding(
                "settings",
                "fail",
                f"{name} is no setting, and is passed over",
                f"you may mean {near}" if near else "remove it",
            )


def passed_over(settings: Settings) -> Iterator[Finding]:
    """What names a server that nothing else asks for."""
    if settings.state_database_url is not None and settings.state_persistence_backend in FILES:
        kind = settings.state_persistence_backend
        fix = "set STATE_PERSISTENCE_BACKEND=postgresql, or the one that it is of; or remove it"
        yield Finding("settings", "warn", f"STATE_DATABASE_URL is passed over: the store is {kind}", fix)
    if "redis_url" in settings.model_fields_set and settings.event_bus_backend == "memory":
        fix = "set EVENT_BUS_BACKEND=redis, or remove it"
        yield Finding("settings", "warn", "REDIS_URL is passed over: the bus is memory", fix)


def set_by_hand(settings: Settings) -> Iterator[Finding]:
    """What differs from its default, with its value; a secret's is not shown."""
    for field, info in Settings.model_fields.items():
        value = getattr(settings, field)
        if value != info.get_default(call_default_factory=True):
            yield Finding(
                "settings", "ok", f"{name_of(field)} = {_shown(value)}: {_reason(info.description)}"
            )
    yield Finding("settings", "ok", "all others have their defaults (docs/settings.md)")


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return f"(a secret of {len(value.get_secret_value())} characters)"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _reason(description: str | None) -> str:
    return " ".join((description or "").split())


def who_may_come_in(settings: Settings) -> Iterator[Finding]:
    """Authentication, and who may reach us from a browser."""
    if settings.auth == "none":
        message = "none: whoever uses this machine is `anonymous`, and may do everything"
        wants_tokens = settings.jwt_secret is not None or settings.jwks_url is not None
        yield warned_if(wants_tokens, "auth", message, "set GATEWAY_AUTH=jwt to have tokens looked at")
        return
    ways = ["HS256"] * (settings.jwt_secret is not None) + ["a published key"] * (
        settings.jwks_url is not None
    )
    audience = settings.jwt_audience or "any, since GATEWAY_JWT_AUDIENCE is not set"
    message = f"jwt: tokens are signed with {' or '.join(ways)}; their audience is {audience}"
    fix = "an issuer's tokens for others would open this too: set GATEWAY_JWT_AUDIENCE"
    yield warned_if(settings.jwks_url is not None and settings.jwt_audience is None, "auth", message, fix)


def data_directory(settings: Settings) -> Iterator[Finding]:
    """Who holds it, what room there is, and what a durable write takes."""
    folder = settings.data_dir
    if folder.exists():
        yield _lock(folder)
    else:
        yield Finding("data directory", "ok", f"{folder.absolute()} will be made")
        folder = next(parent for parent in folder.absolute().parents if parent.exists())
    try:
        took_s = time_sync(folder)
        free = shutil.disk_usage(folder).free
    except (OSError, StoreUnavailableError) as error:
        fix = "give this user a directory on a local disk with room, with --data-dir"
        yield Finding("data directory", "fail", f"nothing can be written below {folder}: {error}", fix)
        return
    message = f"a durable write takes {took_s * 1000:.1f} ms"
    fix = "every submit waits for one: put --data-dir on a faster local disk"
    yield warned_if(took_s > SLOW_SYNC_S, "data directory", message, fix)
    message = f"{shown_size(free)} are free on its disk"
    fix = "make room, or set GATEWAY_RETENTION_BYTES below it"
    yield warned_if(free < max(LITTLE_ROOM, settings.retention_bytes), "data directory", message, fix)


def warned_if(is_so: bool, part: str, message: str, fix: str) -> Finding:  # noqa: FBT001
    """A warning where something is so, else a good word."""
    return Finding(part, "warn", message, fix) if is_so else Finding(part, "ok", message)


def _lock(folder: Path) -> Finding:
    problem = _lock_problem(folder)
    if problem is None:
        return Finding("data directory", "ok", f"no gateway uses {folder.absolute()} now")
    if is_held(folder):
        return Finding("data directory", "ok", f"a gateway uses {folder.absolute()} now")
    return Finding("data directory", "fail", str(problem), "let this user write there")


def is_held(folder: Path) -> bool:
    """Whether a gateway uses the directory now."""
    problem = _lock_problem(folder)
    return problem is not None and isinstance(problem.__context__, BlockingIOError)


def _lock_problem(folder: Path) -> StartError | None:
    # One that we made might be another user's, and keep the gateway out.
    if folder.is_dir() and not (folder / "lock").exists():
        return None
    try:
        locked(folder).close()
    except StartError as error:
        return error
    return None


def networks(settings: Settings) -> Iterator[Finding]:
    """The port, and the name below which sites are shown."""
    yield _port(settings)
    if settings.preview_host is not None:
        yield _preview_host(settings.preview_host)
        yield from _reached_by_others(settings)
    elif not settings.loopback:
        fix = "set GATEWAY_PREVIEW_HOST to a name with a wildcard DNS record and certificate"
        yield Finding("sites", "warn", "sites of tasks have no URL that others can open", fix)
    else:
        yield Finding("sites", "ok", "shown on loopback, each on a port of its own")


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if not _is_gateway(settings):
            problem = f"can't listen on {where}: {error.strerror or error}"
            return Finding("port", "fail", problem, "choose another --port or --host")
        if not is_held(settings.data_dir):
            problem = f"a gateway with another data directory answers on {where}"
            return Finding("port", "fail", problem, "choose another --port, or its --data-dir")
        return Finding("port", "ok", f"a gateway answers on {where}")
    return Finding("port", "ok", f"{where} is free")


def _is_gateway(settings: Settings) -> bool:
    with closing(HTTPConnection(settings.host, settings.port, timeout=ANSWER_S)) as http:
        try:
            http.request("GET", "/livez")
            return bool(json.loads(http.getresponse().read(1000)) == {"status": "ok"})
        except (OSError, ValueError, HTTPException):
            return False


def _preview_host(name: str) -> Finding:
    label = f"check-{time.time_ns():x}.{name.partition(':')[0]}"
    try:
        socket.getaddrinfo(label, None)
    except OSError as error:
        fix = f"add a DNS record for *.{name.partition(':')[0]} that leads here"
        return Finding("sites", "fail", f"{label} has no address: {error.strerror or error}", fix)
    return Finding("sites", "ok", f"names below {name} have an address")


def _reached_by_others(settings: Settings) -> Iterator[Finding]:
    url = f"http://{settings.host}:{settings.port}"
    if not settings.is_alone and settings.advertised(url) is None:
        message = f"the other instances don't know where this one is, which listens on every address ({settings.host})"
        fix = "they can't show its sandboxes' sites: set GATEWAY_ADVERTISE_URL to where they reach it, http://host:port"
        yield Finding("sites", "warn", message, fix)


def open_files(settings: Settings) -> Iterator[Finding]:
    """Whether the system lets us hold as many sockets as the settings promise."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < settings.max_connections + SPARE_FILES:
        message = (
            f"{allowed} may be open, fewer than GATEWAY_MAX_CONNECTIONS ({settings.max_connections}) need"
        )
        fix = f"raise `ulimit -n` to {settings.max_connections + SPARE_FILES}, or lower that setting"
        yield Finding("open files", "warn", message, fix)
    else:
        yield Finding("open files", "ok", f"{allowed} may be open")


def shown_size(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
