"""A fleet on this machine: gateways, workers, their Redis and PostgreSQL, and a load balancer before them.

`make fleet` (`tests/support/fleet_cli.py`) is for people, `running_fleet` for tests and benchmarks. Each instance has
a way of its own to Redis and to PostgreSQL, a `Proxy` that can be told to be a bad network. Addresses outlast restarts.
"""

import asyncio
import random
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.house.source import ROOT
from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.postgres import QUICK, Server, free_port, postgres_server
from tests.support.proxy import Proxy, proxy_to
from tests.support.redis_server import RedisServer, redis_server
from tests.support.waiting import eventually

BALANCER: Final = ROOT / "deploy" / "haproxy.cfg"
BALANCED: Final = 4
"""Gateways that the balancer's file has places for."""
BALANCER_READY_S: Final = 30.0
APART: Final = ("setsid",)
"""Ctrl-C is for whoever leads the fleet, who then ends it in order."""


@dataclass
class Instance:
    """A gateway or worker; `start` it as often as it was ended."""

    name: str
    options: Sequence[str]
    env: Mapping[str, str]
    data_dir: Path
    redis: Proxy
    """Its way to Redis."""
    postgres: Proxy
    """Its way to PostgreSQL."""
    role: str = "serve"
    port: int = field(default_factory=free_port)
    folder: Path | None = None
    """Where its code is; None for what is here."""
    ends: Counter[int] = field(default_factory=Counter)
    """How often it has ended with which code."""
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)
    _process: GatewayProcess | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """Where its clients connect."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.data_dir.with_suffix(".log")

    @property
    def process(self) -> GatewayProcess:
        """What runs. Raises ValueError where nothing does."""
        if self._process is None:
            raise ValueError(f"{self.name} does not run")
        return self._process

    @property
    def is_up(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.process.returncode is None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        options = ("--port", str(self.port), *self.options)
        running = running_gateway(
            self.data_dir, *options, env=self.env, under=APART, role=self.role, folder=self.folder
        )
        self._process = await self._held.enter_async_context(running)

    async def kill(self) -> None:
        """As a crash."""
        await self.process.kill()
        self.ends[self.process.process.returncode or 0] += 1
        await self._held.aclose()

    async def stop(self) -> int:
        """Drain it; its exit code."""
        code = await self.process.stop()
        self.ends[code] += 1
        await self._held.aclose()
        return code

    def freeze(self) -> None:
        """Let it stand still (SIGSTOP), as a machine that swaps or is moved."""
        self.process.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, with all that it believed."""
        self.process.process.send_signal(signal.SIGCONT)

    async def aclose(self) -> None:
        """End it, in whatever state it is."""
        if self.is_up:
            self.thaw()
        await self._held.aclose()


@dataclass
class Fleet:
    """All of it."""

    gateways: list[Instance]
    workers: list[Instance]
    redis: RedisServer
    postgres: Server
    balancer_port: int

    @property
    def instances(self) -> list[Instance]:
        """Gateways and workers."""
        return [*self.gateways, *self.workers]

    @property
    def url(self) -> str:
        """The load balancer."""
        return f"http://127.0.0.1:{self.balancer_port}"

    @property
    def socket_url(self) -> str:
        """Where clients of the load balancer connect."""
        return f"ws://127.0.0.1:{self.balancer_port}/ws"


@asynccontextmanager
async def running_fleet(
    folder: Path,
    *,
    gateways: int = 2,
    workers: int = 1,
    env: Mapping[str, str] | None = None,
    port: int | None = None,
    rng: random.Random | None = None,
    build: Path | None = None,
) -> AsyncIterator[Fleet]:
    """A fleet that runs inside the block in `folder`, which is there; all of it ready.

    Workers hold the sandboxes. `port` is the balancer's, `rng` decides which bytes a bad network hits, `build` is where
    the code of all of them is, if not here.
    """
    async with AsyncExitStack() as held:
        redis = held.enter_context(redis_server())
        postgres = held.enter_context(postgres_server(QUICK))

        async def made(role: str, name: str, *options: str) -> Instance:
            to_redis = await held.enter_async_context(proxy_to("127.0.0.1", redis.port, rng=rng))
            to_postgres = await held.enter_async_context(proxy_to("127.0.0.1", postgres.port, rng=rng))
            given = _env(to_redis, postgres.dsn(port=to_postgres.port)) | dict(env or {})
            way = (to_redis, to_postgres, role)
            return Instance(name, options, given, folder / name, *way, folder=build)

        serving = [await made("serve", f"gateway-{n + 1}", "--no-local-sandbox") for n in range(gateways)]
        working = [await made("worker", f"worker-{n + 1}") for n in range(workers)]
        fleet = Fleet(serving, working, redis, postgres, port or free_port())
        held.push_async_callback(_closed, fleet)
        first, *others = fleet.instances
        await first.start()  # it makes the tables
        await asyncio.gather(*(instance.start() for instance in others))
        await held.enter_async_context(_balanced(fleet, folder / "balancer.log"))
        yield fleet


def _env(redis: Proxy, dsn: str) -> dict[str, str]:
    return {
        "STATE_PERSISTENCE_BACKEND": "postgresql",
        "STATE_DATABASE_URL": dsn,
        "EVENT_BUS_BACKEND": "redis",
        "REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
    }


async def _closed(fleet: Fleet) -> None:
    await asyncio.gather(*(instance.aclose() for instance in fleet.instances))


def _balanced(fleet: Fleet, log: Path) -> AbstractAsyncContextManager[None]:
    if len(fleet.gateways) > BALANCED:
        raise ValueError(f"deploy/haproxy.cfg has places for {BALANCED} gateways")
    env = {f"GATEWAY_{n}": f"127.0.0.1:{g.port}" for n, g in enumerate(fleet.gateways, 1)}
    return balancer(env | {"FLEET_BIND": f"127.0.0.1:{fleet.balancer_port}"}, fleet.balancer_port, log)


@asynccontextmanager
async def balancer(env: Mapping[str, str], port: int, log: Path) -> AsyncIterator[None]:
    """HAProxy by the file of the deployment, with its environment; at `port` inside the block."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise RuntimeError("HAProxy is not installed; on Debian: apt install haproxy")
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(*APART, program, "-f", str(BALANCER)), env=dict(env), stdout=output, stderr=output
        )
    try:
        await eventually(lambda: _answers(port, process, log), within_s=BALANCER_READY_S)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(port: int, process: asyncio.subprocess.Process, log: Path) -> bool:
    if process.returncode is not None:
        raise RuntimeError(f"HAProxy did not start: {_tail(log)}")
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _tail(log: Path) -> str:
    return log.read_text()[-1000:]
