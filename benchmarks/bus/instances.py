"""Two real gateways over a real Redis and a real store: `first` runs the tasks, `second` has the clients."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import disk
from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.postgres import LIKE_A_SERVER, postgres_server
from tests.support.redis_server import RedisServer, redis_server

STORES: Final = ("postgresql", "sqlite")
ENV: Final = {
    "EVENT_BUS_BACKEND": "redis",
    "GATEWAY_LOG_LEVEL": "warning",
    "GATEWAY_REQUESTS_PER_S": "0",
    "GATEWAY_MAX_RUNNING_PER_SUBJECT": "0",
    "GATEWAY_MAX_CONNECTIONS_PER_SUBJECT": "0",
}
AGENTS: Final = {
    "GATEWAY_AGENTS": "source=benchmarks.bus.source:Source,steered=benchmarks.bus.source:Steered"
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Both, and what is between them."""

    first: GatewayProcess
    second: GatewayProcess
    redis: RedisServer

    def cpu_s(self) -> tuple[float, float, float]:
        """What the first, the second and Redis have used of a processor since they were started, in s."""
        redis = self.redis.process.pid if self.redis.process is not None else 0
        return cpu_s(self.first.pid), cpu_s(self.second.pid), cpu_s(redis)


def cpu_s(pid: int) -> float:
    """What a process has used of a processor, all its threads, in s."""
    threads = (thread / "schedstat" for thread in Path(f"/proc/{pid}/task").iterdir())
    return sum(int(told.read_text().split()[0]) for told in threads) / 1e9


@asynccontextmanager
async def pair(store: str) -> AsyncIterator[Pair]:
    """Both ready inside the block, over one of `STORES`; what is durable is synced to a disk."""
    async with AsyncExitStack() as held:
        folder = held.enter_context(disk())
        redis = held.enter_context(redis_server())
        env = ENV | {"REDIS_URL": redis.url, "STATE_PERSISTENCE_BACKEND": store}
        if store == "postgresql":
            env["STATE_DATABASE_URL"] = held.enter_context(postgres_server(LIKE_A_SERVER)).dsn()

        async def started(name: str, more: dict[str, str]) -> GatewayProcess:
            # One SQLite file for both, and a log for each.
            data_dir = folder / (name if store == "postgresql" else "shared")
            running = running_gateway(data_dir, "--no-local-sandbox", env=env | more)
            return await held.enter_async_context(running)

        first = await started("first", AGENTS)
        second = await started("second", {})
        await asyncio.to_thread(os.sync)
        yield Pair(first, second, redis)
