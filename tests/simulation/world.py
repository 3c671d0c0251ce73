"""One seed: real gateways, a real bridge and real clients on a simulated loop, disk and network."""

import asyncio
import hashlib
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from structlog.testing import capture_logs

from tests.simulation.crowd import Crowd
from tests.simulation.host import Host
from tests.simulation.life import Life
from tests.simulation.oracle import check_list
from tests.simulation.person import Person
from tests.simulation.sightings import Sightings
from tests.simulation.sim_loop import SimLoop
from tests.simulation.weather import CLEARS_UP_S, Fault, Weather
from tests.support.fake_sandbox import FakeSandbox
from tests.support.history import HistoryError
from tests.support.waiting import let_pass

SPAN_S: Final = 60.0
"""How long a seed lasts at least, in virtual seconds."""
GIVE_UP_S: Final = CLEARS_UP_S + 120.0
"""When everything must have ended."""


@dataclass
class Seed:
    """What came of a seed."""

    number: int
    lives: list[Life] = field(default_factory=list)
    sightings: Sightings = field(default_factory=Sightings)
    faults: list[Fault] = field(default_factory=list)
    network: Counter[str] = field(default_factory=Counter)
    virtual_s: float = 0.0
    error: str | None = None
    """Why it failed."""

    @property
    def digest(self) -> str:
        """The same for the same seed, for ever."""
        told = [
            [life.frames for life in self.lives],
            self.sightings,
            [str(f) for f in self.faults],
            self.network,
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def run_seed(number: int, data_dir: Path, *, tasks: int = 3) -> Seed:
    """Everything of one seed; what was found wrong is in its `error`."""
    loop = SimLoop(number)
    seed = Seed(number)
    loop.set_exception_handler(seed.sightings.note_loop_error)
    try:
        with capture_logs():
            loop.run_until_complete(_simulate(loop, seed, data_dir, tasks))
    except* HistoryError as group:
        seed.error = "; ".join(str(error) for error in _leaves(group))
    finally:
        seed.virtual_s = loop.time()
        seed.network = loop.network.faults
        loop.close()
    if seed.error is None and seed.sightings.wrongs:
        seed.error = f"logged: {seed.sightings.wrongs[0]}"
    return seed


async def _simulate(loop: SimLoop, seed: Seed, data_dir: Path, tasks: int) -> None:
    number, sightings = seed.number, seed.sightings
    async with FakeSandbox() as sandbox:
        host = Host(loop, number, data_dir, sandbox.url, sightings)
        weather = Weather(loop, random.Random(number + 3), host, sandbox, sandbox._port)
        seed.faults = weather.record
        await host.start()
        seed.lives = [Life.drawn(index, number, sightings) for index in range(tasks)]
        try:
            async with asyncio.timeout_at(GIVE_UP_S), asyncio.TaskGroup() as group:
                group.create_task(weather.run())
                group.create_task(_live(seed, weather))
        except TimeoutError:
            raise HistoryError(f"stuck: {[life.state for life in seed.lives if not life.is_over]}") from None
        finally:
            _note_sandbox(sandbox, sightings)
        host.check()
        await let_pass(max(0.0, SPAN_S - loop.time()))
        await host.stop()


async def _live(seed: Seed, weather: Weather) -> None:
    rng = random.Random(seed.number + 1)
    person = Person(rng, seed.sightings)
    async with Crowd(rng, seed.sightings) as crowd, asyncio.TaskGroup() as group:
        for life in seed.lives:
            group.create_task(life.run(crowd))
    for life in seed.lives:
        life.check(crowd, weather.is_fair)
    ends = {life.task_id.result(): life.end for life in seed.lives if not life.is_deleted}
    check_list((await person.ask("list_tasks"))["tasks"], ends)
    await person.leave()


def _note_sandbox(sandbox: FakeSandbox, sightings: Sightings) -> None:
    sightings["resume of a sandbox session"] += sandbox.taken_up


def _leaves(group: BaseExceptionGroup[HistoryError]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
