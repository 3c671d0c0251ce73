"""What a checkpoint costs whose state is large and stays as it was, beside one with a small state, in each store."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks.measure import Figure, disk
from gateway.checkpoints import Kept, new_checkpoint
from gateway.state.base import StateStore
from gateway.state.values import Append
from gateway.task_changes import told_of
from gateway.tasks import TaskRecord
from tests.support.postgres import LIKE_A_SERVER, fresh_database, postgres_server
from tests.support.records import fence_of
from tests.support.stores import Backend, PostgresqlBackend, SqliteBackend, SurrealBackend, run

CHECKPOINTS: Final = 100
RUNS: Final = 3
LARGE: Final = 1 << 20
SMALL: Final = 100
"""Bytes of a state."""


def measure() -> list[Figure]:
    """All stores that a machine can have by itself."""
    return asyncio.run(_measured())


async def _measured() -> list[Figure]:
    with disk() as folder, postgres_server(LIKE_A_SERVER) as server:
        figures = [
            await _figure("SQLite", SqliteBackend(folder)),
            await _figure("SurrealDB's engine", SurrealBackend(folder)),
        ]
        async with fresh_database(server) as dsn:
            return [*figures, await _figure("PostgreSQL", PostgresqlBackend(dsn))]


async def _figure(name: str, backend: Backend) -> Figure:
    figure = Figure(
        f"checkpoint, unchanged 1 MiB, {name}", "ms", [], floor_name="small state", ratio_at_most=2.0
    )
    async with backend.opened() as store:
        for _ in range(RUNS):
            figure.runs.append(await _took_ms(store, LARGE))
            figure.floor_runs.append(await _took_ms(store, SMALL))
    return figure


async def _took_ms(store: StateStore, size: int) -> float:
    """One checkpoint of a task of its own, on average, behind a first one that writes the state."""
    keep, data = _keeper(store, await run(store)), {"words": "x" * size}
    await keep(data, 0)
    began = time.perf_counter()
    for number in range(1, CHECKPOINTS + 1):
        await keep(data, number)
    return (time.perf_counter() - began) / CHECKPOINTS * 1000


def _keeper(store: StateStore, task: TaskRecord) -> Callable[[dict[str, str], int], Awaitable[None]]:
    right, kept = fence_of(task), Kept()  # as a run has them

    async def keep(data: dict[str, str], number: int) -> None:
        nonlocal right
        new = new_checkpoint(f"{task.task_id}-{number:06}", f"step-{number}", "stepper", data, kept=kept)
        right = await store.append(right, Append([told_of(new)], checkpoint=(task.workflow_id, new)))
        kept.learn(data, new)

    return keep
