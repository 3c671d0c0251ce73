"""Two servers with Redis between: what is made on the first is watched on the second. All three are counted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.fanout.ours import instance, watched_from
from benchmarks.fanout.servers import PEERS, REALTIME, SERVER_CORE, SOCKET_IO, Server, process
from benchmarks.measure import disk
from tests.support.postgres import free_port
from tests.support.redis_server import redis_server


@contextmanager
def _redis() -> Iterator[tuple[str, int]]:
    """Its URL and pid; on the servers' core."""
    with redis_server() as server:
        assert server.process is not None
        pid = server.process.pid
        os.sched_setaffinity(pid, {SERVER_CORE})
        if priority := os.environ.get(REALTIME):
            os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(int(priority)))
        yield server.url, pid


@contextmanager
def ours_with_redis(tasks: int) -> Iterator[Server]:
    """Two gateways on one SQLite; only the first has the agent."""
    with _redis() as (url, redis), disk() as folder:
        bus = {"EVENT_BUS_BACKEND": "redis", "REDIS_URL": url}
        data = str(folder / "data")
        with (
            instance(data, **bus) as (first, service),
            instance(data, **bus, GATEWAY_AGENTS="", BENCH_SOURCE="0") as (second, _),
        ):
            second.tasks = watched_from(service, service.running(tasks))
            second.source = first.source
            second.pids = [*first.pids, *second.pids, redis]
            yield second


@contextmanager
def socketio_with_redis(tasks: int) -> Iterator[Server]:
    """Two Socket.IO servers with its Redis adapter."""
    first, second, source = free_port(), free_port(), free_port()
    program = ["node", str(PEERS / "socketio.mjs")]
    env = {"NODE_ENV": "production"}
    with (
        _redis() as (url, redis),
        process([*program, str(first), str(source), url], env) as (one, _),
        process([*program, str(second), "0", url], env) as (two, _),
    ):
        yield Server(second, source, [one, two, redis], SOCKET_IO, lambda: [str(n) for n in range(tasks)])
