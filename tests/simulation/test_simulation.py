"""The whole on virtual time: seeds of connect, submit, steer, feed, cut, resume.

A failing seed is replayed by its number: `pytest tests/simulation -k "seed-7"`.
"""

import functools
import tempfile
from pathlib import Path

import pytest

from tests.simulation.world import Seed, run_seed

SEEDS = range(60)
SHM = Path("/dev/shm")  # noqa: S108 - syncing to a disk is what other tests are for; this one wants speed


def fresh_run(seed: int) -> Seed:
    """What comes of a seed."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as data_dir:
        return run_seed(seed, Path(data_dir))


known_run = functools.cache(fresh_run)


@pytest.mark.parametrize("seed", SEEDS, ids="seed-{}".format)
def test_every_follower_sees_the_whole_log_however_often_it_is_cut_off(seed: int) -> None:
    """Each follower of a task sees the same bytes, 1…n, once, in order, over any number of connections."""
    found = known_run(seed)
    assert len(found.histories) == 6
    assert found.faults["delayed"] > 0
    assert found.faults["split"] > 0


def test_the_faults_happen() -> None:
    """Over the seeds, connections are cut and made again, tasks paused, ended and fed; else the runs prove nothing."""
    runs = [known_run(seed) for seed in SEEDS]
    assert sum(run.cuts for run in runs) >= 300
    assert sum(run.resumed for run in runs) >= 120
    assert sum(run.pauses for run in runs) >= 60
    assert sum(run.cancelled for run in runs) >= 5
    assert sum(run.fed for run in runs) >= 30


def test_a_seed_is_one_history() -> None:
    """The same seed gives the same history, to the byte; another gives another."""
    assert fresh_run(3).digest == known_run(3).digest
    assert known_run(3).digest != known_run(4).digest
