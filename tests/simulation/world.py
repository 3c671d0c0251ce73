"""One seed: a real gateway, a real bridge, clients that come back, on a simulated loop and network."""

import asyncio
import hashlib
import json
import logging
import random
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from websockets.exceptions import WebSocketException

from gateway.clock import Clock
from gateway.server.app import Gateway
from gateway.server.world import World
from gateway.settings import Settings
from tests.simulation.sim_loop import SimLoop
from tests.simulation.steering import GATEWAY_PORT, Order, connected, steer
from tests.support.fake_sandbox import FakeSandbox
from tests.support.gateway import Client, output_of
from tests.support.history import HistoryError, check_all, check_one
from tests.support.inline import InlineExecutor

EPOCH_MS = 1_800_000_000_000
_QUIET = structlog.wrap_logger(
    structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
)
GIVE_UP_S = 3600.0
"""Virtual seconds after which a seed that has not come to its end never will."""


@dataclass
class Seed:
    """What came of a seed."""

    frames: dict[str, dict[int, str]] = field(default_factory=dict)
    histories: list[list[str]] = field(default_factory=list)
    resumed: int = 0
    cuts: int = 0
    pauses: int = 0
    cancelled: int = 0
    fed: int = 0
    virtual_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The same for the same seed, for ever."""
        return hashlib.sha256(json.dumps([self.histories, self.resumed, self.faults]).encode()).hexdigest()


def run_seed(seed: int, data_dir: Path, *, tasks: int = 3, watchers: int = 2) -> Seed:
    """Everything of one seed; the checker's errors are raised."""
    loop = SimLoop(seed)
    try:
        return loop.run_until_complete(_simulate(loop, seed, data_dir, tasks=tasks, watchers=watchers))
    finally:
        loop.close()


async def _simulate(loop: SimLoop, seed: int, data_dir: Path, *, tasks: int, watchers: int) -> Seed:
    clock = Clock(now_ms=lambda: EPOCH_MS + int(loop.time() * 1000), rng=random.Random(seed + 2))
    found = Seed()
    executor = InlineExecutor()
    stop, up = asyncio.Event(), asyncio.Event()
    async with FakeSandbox() as sandbox, asyncio.timeout(GIVE_UP_S), asyncio.TaskGroup() as group:
        settings = _settings(data_dir, sandbox.url)
        gateway = Gateway(settings, World(clock, executor, executor), log=_QUIET)
        group.create_task(gateway.serve(ready=lambda _url: up.set(), stop=stop))
        await up.wait()
        await _work(loop, random.Random(seed + 1), found, tasks=tasks, watchers=watchers)
        stop.set()
    found.virtual_s = loop.time()
    found.faults = dict(loop.network.faults)
    return found


async def _work(loop: SimLoop, rng: random.Random, found: Seed, *, tasks: int, watchers: int) -> None:
    """Submit and follow under bad weather, and check what was seen."""
    async with asyncio.TaskGroup() as group:
        weather = group.create_task(_cut_now_and_then(loop, rng, found))
        orders = [Order.drawn(rng) for _ in range(tasks)]
        submitted = [await _submit(order, rng, index) for index, order in enumerate(orders)]
        steering = [
            group.create_task(steer(task_id, order, rng))
            for task_id, order in zip(submitted, orders, strict=True)
        ]
        followers = [
            [group.create_task(_follow(task_id, rng, found)) for _ in range(watchers)]
            for task_id in submitted
        ]
        for order, task_followers in zip(orders, followers, strict=True):
            seen = [await follower for follower in task_followers]
            check_all(seen)
            _check_story(order, seen[0], found)
            found.histories += seen
        await asyncio.gather(*steering)
        weather.cancel()


def _settings(data_dir: Path, sandbox_url: str) -> Settings:
    return Settings(
        _env_file=None,
        port=GATEWAY_PORT,
        data_dir=data_dir,
        local_sandbox=False,
        websocket_url=(sandbox_url,),
        heartbeat_ms=5000,
        drain_s=1.0,
    )


async def _cut_now_and_then(loop: SimLoop, rng: random.Random, found: Seed) -> None:
    while True:
        await asyncio.sleep(rng.uniform(0.2, 4.0))
        found.cuts += loop.network.cut(GATEWAY_PORT)


def _check_story(order: Order, frames: list[str], found: Seed) -> None:
    """What the log of a task says of what was done to it. Raises `HistoryError`."""
    events = [json.loads(frame) for frame in frames]
    statuses = [event["data"]["status"] for event in events if event["event"] == "status"]
    found.pauses += statuses.count("paused")
    found.cancelled += statuses[-1] == "cancelled"
    if statuses[-1] == "failed" or (statuses[-1] == "cancelled") > order.is_cancelled:
        raise HistoryError(f"{events[-1]} though nobody wished that")
    if statuses[-1] == "completed" and order.lines:
        found.fed += 1
        if (text := output_of(events)) != order.text:
            raise HistoryError(f"it was sent {order.text!r} and read {text!r}")


async def _submit(order: Order, rng: random.Random, index: int) -> str:
    """Submit until it is answered; the key makes the repeats one task."""
    while True:
        try:
            async with asyncio.timeout(30), connected() as me:
                return await me.submit(input=order.input, mode="background", idempotency_key=f"task {index}")
        except (OSError, TimeoutError, WebSocketException):
            await asyncio.sleep(rng.uniform(0, 0.5))


async def _follow(task_id: str, rng: random.Random, found: Seed) -> list[str]:
    """Follow a task to its end, over as many connections as it takes: the last seq is all that is kept."""
    frames: list[str] = []
    while True:
        try:
            async with connected() as me:
                await _follow_here(me, task_id, frames, found)
                return frames
        except (OSError, WebSocketException):
            await asyncio.sleep(rng.uniform(0, 0.5))


async def _follow_here(me: Client, task_id: str, frames: list[str], found: Seed) -> None:
    """Follow on one connection, and check what came of it even where it was cut."""
    found.resumed += bool(frames)
    after_seq = len(frames)
    try:
        await me.send("subscribe", task_id=task_id, after_seq=after_seq)
        await me.until_ended(task_id)
    except TimeoutError:
        # The connection lives, and nothing in this world takes so long.
        raise HistoryError(f"{task_id}: nothing came after seq {len(me.frames.get(task_id, []))}") from None
    finally:
        got = me.frames.get(task_id, [])
        check_one(got, after_seq=after_seq, ended=me.has_ended(task_id))
        frames += got
