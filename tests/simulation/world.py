"""One seed: real gateways, a real bridge and real clients on a simulated loop, disk and network."""

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from structlog.testing import capture_logs

from sandbox_bridge.protocol import RESUME_S
from tests.simulation.crowd import Crowd
from tests.simulation.host import Host
from tests.simulation.life import Life
from tests.simulation.oracle import check_limit, check_list, check_that_one_works
from tests.simulation.person import Person
from tests.simulation.sightings import Sightings
from tests.simulation.sim_bus import Middle
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
    kinds: Sequence[str] = ()
    """What is to go wrong, where that is not drawn."""
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


def run_seed(
    number: int, data_dir: Path, *, tasks: int = 3, instances: int = 1, kinds: Sequence[str] = ()
) -> Seed:
    """Everything of one seed; what was found wrong is in its `error`."""
    loop = SimLoop(number)
    seed = Seed(number, kinds=kinds)
    loop.set_exception_handler(seed.sightings.note_loop_error)
    try:
        with capture_logs():
            loop.run_until_complete(_simulate(loop, seed, data_dir, tasks, instances))
    except* HistoryError as group:
        seed.error = "; ".join(str(error) for error in _leaves(group))
    finally:
        seed.virtual_s = loop.time()
        seed.network = loop.network.faults
        loop.close()
    if seed.error is None and seed.sightings.wrongs:
        seed.error = f"logged: {seed.sightings.wrongs[0]}"
    return seed


async def _simulate(loop: SimLoop, seed: Seed, data_dir: Path, tasks: int, instances: int) -> None:
    number, sightings = seed.number, seed.sightings
    async with FakeSandbox() as sandbox:
        middle = Middle(loop, random.Random(number + 5)) if instances > 1 else None
        hosts = [
            Host(
                loop,
                random.Random(number + 2 + 100 * n),
                data_dir,
                sandbox.url,
                sightings=sightings,
                middle=middle,
            )
            for n in range(instances)
        ]
        weather = Weather(loop, random.Random(number + 3), hosts, sandbox, middle=middle)
        weather.wanted, seed.faults = seed.kinds, weather.record
        for host in hosts:
            await host.start()
        among_many = middle is not None
        seed.lives = [Life.drawn(index, number, sightings, among_many=among_many) for index in range(tasks)]
        try:
            async with asyncio.timeout_at(GIVE_UP_S), asyncio.TaskGroup() as group:
                blowing = [group.create_task(weather.run()) for _ in range(1 if instances == 1 else 2)]
                watching = group.create_task(check_that_one_works(hosts))
                await asyncio.wait([*blowing, group.create_task(_live(seed, weather))])
                watching.cancel()
        except TimeoutError:
            raise HistoryError(f"stuck: {[life.state for life in seed.lives if not life.is_over]}") from None
        finally:
            _note(sandbox, middle, sightings)
        if middle is not None:
            check_limit([life.events for life in seed.lives])
        for host in hosts:
            host.check()
        # A sandbox keeps a session for a while for a bridge that has just been found to be gone.
        over = max([SPAN_S, *(fault.end + RESUME_S + 2 for fault in seed.faults)])
        await let_pass(max(0.0, over - loop.time()))
        if sandbox.sessions:
            raise HistoryError(f"session: {sorted(sandbox.sessions)} run on for nobody")
        for host in hosts:
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


def _note(sandbox: FakeSandbox, middle: Middle | None, sightings: Sightings) -> None:
    sightings["resume of a sandbox session"] += sandbox.taken_up
    if middle is not None:
        sightings.update(middle.counts)


def _leaves(group: BaseExceptionGroup[HistoryError]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
