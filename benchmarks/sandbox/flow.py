"""How fast output comes out of a jail: to the bridge, and through the durable log to a client."""

import asyncio
import itertools
import os
import time
import uuid
from pathlib import Path

import orjson

from benchmarks.measure import Figure
from benchmarks.sandbox.floors import pipe_mb_s, socket_mb_s, synced_rows_mb_s
from benchmarks.sandbox.service import bridge_to, spec
from sandbox_bridge.bridge import Bridge
from tests.support.gateway import ANSWER_S, Client, client, is_final, running_gateway
from tests.support.processes import children_of, rss_mib
from tests.support.sandbox_process import sandbox_service

BRIDGE_BYTES = 200_000_000
LOG_BYTES = 50_000_000
_ROOM = str(1 << 30)


def flood(size: int) -> str:
    """A command that says `size` bytes."""
    return f"yes 0123456789abcde | head -c {size}"


async def to_the_bridge(runs: int) -> list[Figure]:
    """Output of one session, taken as fast as it comes."""
    rates, pipes, sockets = list[float](), list[float](), list[float]()
    with sandbox_service(output_bytes=_ROOM, max_output_bytes=_ROOM) as url:
        async with bridge_to(url) as bridge:
            for _ in range(runs):
                pipes.append(pipe_mb_s(BRIDGE_BYTES))
                sockets.append(await socket_mb_s(BRIDGE_BYTES))
                began = time.perf_counter()
                taken = await _take(bridge, BRIDGE_BYTES)
                rates.append(taken / 1e6 / (time.perf_counter() - began))
    return [
        Figure("jail to bridge", "MB/s", rates, "bare socket", sockets, at_least=100),
        Figure("  floor: bare jail to a pipe", "MB/s", pipes),
    ]


async def _take(bridge: Bridge, size: int) -> int:
    taken = 0
    async with bridge.open(str(uuid.uuid4()), spec(flood(size))) as session:
        async for progress in session:
            if progress["kind"] == "output":
                count = len(progress["text"].encode())
                taken += count
                session.grant_nowait(count)
    assert taken == size, f"{taken} of {size} bytes came"
    return taken


async def through_the_log(runs: int, folder: Path) -> list[Figure]:
    """Output of one task, durable before a client sees it, read by that client."""
    rates, rows, grown = list[float](), list[float](), list[float]()
    env = {"SANDBOX_OUTPUT_BYTES": _ROOM, "SANDBOX_MAX_OUTPUT_BYTES": _ROOM}
    async with running_gateway(folder / "data", env=env) as gateway, client(gateway.socket_url) as watcher:
        for _ in range(runs):
            rows.append(synced_rows_mb_s(folder, LOG_BYTES // (64 << 10)))
            before = _memory_mib(gateway.pid)
            began = time.perf_counter()
            taken = await _watch(watcher, LOG_BYTES)
            rates.append(taken / 1e6 / (time.perf_counter() - began))
            grown.append(_memory_mib(gateway.pid) - before)
    return [
        Figure(
            "jail through the durable log to a client",
            "MB/s",
            rates,
            "synced 64 KiB rows",
            rows,
            ratio_at_least=0.3,
        ),
        Figure("  memory that this took, all processes", "MiB", grown, at_most=32),
    ]


async def _watch(watcher: Client, size: int) -> int:
    """Follow a flood as a program would that has better things to do: every event is looked at, none is kept."""
    task_id = await watcher.submit(flood(size))
    taken, seqs = 0, itertools.count(1)
    while True:
        async with asyncio.timeout(ANSWER_S):
            event = orjson.loads(await watcher.socket.recv(decode=False))
        assert (event["task_id"], event["seq"]) == (task_id, next(seqs))
        taken += len(event["data"]["text"]) if event["event"] == "output" else 0
        if is_final(event):
            assert taken == size, f"{taken} of {size} bytes came"
            return taken


def _memory_mib(pid: int) -> float:
    return sum(rss_mib(each) for each in [pid, *children_of(pid)] if os.path.exists(f"/proc/{each}"))  # noqa: PTH110
