"""Seeds run in directories of their own, and what is kept of many of them."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.few import few_are_many
from tests.simulation.world import Seed, run_seed

SHM = Path("/dev/shm")  # noqa: S108 - syncing to a disk is what other tests are for; this one wants speed


def fresh_run(number: int, instances: int = 1, kinds: Sequence[str] = ()) -> Seed:
    """All that came of a seed; of `kinds` is what goes wrong in it, where that is not drawn."""
    with few_are_many(), tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as data_dir:
        return run_seed(number, Path(data_dir), instances=instances, kinds=kinds)


@dataclass(frozen=True)
class Summary:
    """What is kept of a seed."""

    failure: str | None
    """One line that replays it, and why it failed."""
    seen: Counter[str]
    faults: Counter[str]
    virtual_s: float


def summary_of(number: int, instances: int = 1) -> Summary:
    """The same, in short."""
    seed = fresh_run(number, instances)
    replay = f"python -m tests.simulation {number}{f' {instances}' * (instances > 1)}"
    failure = f"{replay}  # {seed.error}" if seed.error is not None else None
    faults = Counter(fault.kind for fault in seed.faults) + seed.network
    return Summary(failure, Counter(seed.sightings), faults, seed.virtual_s)
