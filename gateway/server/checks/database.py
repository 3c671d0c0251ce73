"""The state store, as `gateway check` finds it."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Final

from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.server.backends import limits_of, make_store
from gateway.server.checks.parts import SLOW_SYNC_S, Finding, is_held, shown_size, warned_if
from gateway.server.data_dir import StartError
from gateway.server.world import World
from gateway.settings import Settings
from gateway.state.base import StateStore
from gateway.state.sqlite.inspection import Inspection, inspected
from gateway.state.values import Size
from gateway.work.retention import retention_of

WRITES: Final = 5
"""Writes whose median is what one takes."""


async def database(settings: Settings) -> list[Finding]:
    """What is in it, what retention would take, and of a server whether it takes writes, and how fast."""
    if settings.state_persistence_backend == "sqlite":
        return list(_file(settings))
    if settings.state_persistence_backend == "memory":
        return [Finding("database", "ok", "memory: it begins empty, and ends with its process")]
    found = [
        Finding("database", "warn", problem, "use one gateway, or a server")
        for problem in limits_of(settings)
    ]
    return [*found, *await _opened(settings)]


async def _opened(settings: Settings) -> list[Finding]:
    if settings.serves_alone and is_held(settings.data_dir):
        return [Finding("database", "ok", "surrealdb: a gateway uses it, which its /readyz tells of")]
    with ThreadPoolExecutor(1) as unused:
        try:
            store = make_store(settings, World(Clock(), unused, unused))
            await store.open()
        except (StartError, StoreUnavailableError) as error:
            fix = "correct STATE_DATABASE_URL, or start the database there"
            return [Finding("database", "fail", str(error), fix)]
        try:
            return await _server(store, settings)
        except StoreUnavailableError as error:
            return [Finding("database", "fail", f"it takes no writes: {error}", "see the database's own log")]
        finally:
            await store.aclose()


async def _server(store: StateStore, settings: Settings) -> list[Finding]:
    took_s = median([await _timed_write(store) for _ in range(WRITES)])
    message = f"{settings.state_persistence_backend}: a durable write takes {took_s * 1000:.1f} ms"
    fix = "every submit waits for one: bring the database nearer, or give it a faster disk"
    return [warned_if(took_s > SLOW_SYNC_S, "database", message, fix), *_sized(await store.size(), settings)]


async def _timed_write(store: StateStore) -> float:
    began = time.perf_counter()
    await store.check()
    return time.perf_counter() - began


def _file(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir / "gateway.db"
    if not path.exists():
        yield Finding("database", "ok", f"{path} will be made")
        return
    try:
        found = inspected(path, retention_of(settings, time.time_ns() // 1_000_000))
    except StoreUnavailableError as error:
        yield Finding("database", "fail", f"{path} can't be read: {error}", "put a backup in its place")
        return
    if found.damage is not None:
        fix = "stop the gateway, keep a copy, and use a backup or `sqlite3 … .recover`"
        yield Finding("database", "fail", f"{path} is damaged: {found.damage}", fix)
    yield Finding("database", "ok", _content(found))
    yield Finding(
        "database", "ok", f"due to go for their age: {found.logs_due} logs, {found.tasks_due} tasks"
    )
    yield from _sized(found.size, settings)


def _sized(size: Size, settings: Settings) -> Iterator[Finding]:
    used = size.total - size.free
    message = f"it uses {shown_size(used)}"
    if settings.retention_bytes:
        message += (
            f"; tasks go sooner beyond {shown_size(settings.retention_bytes)} (GATEWAY_RETENTION_BYTES)"
        )
    fix = "raise that, or lower GATEWAY_RETENTION_S and GATEWAY_TASK_RETENTION_S"
    yield warned_if(0 < settings.retention_bytes < used, "database", message, fix)


def _content(found: Inspection) -> str:
    kinds = ", ".join(f"{kind} {shown_size(size)}" for kind, size in found.kinds.items())
    tasks = ", ".join(f"{count} {status}" for status, count in found.tasks.items())
    return (
        f"schema {found.schema}, {shown_size(found.size.total)} of which {shown_size(found.size.free)} are free"
        f"{f' ({kinds})' if kinds else ''}; tasks: {tasks or 'none'}"
    )
