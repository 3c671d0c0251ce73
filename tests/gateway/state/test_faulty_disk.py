"""A disk that really fails below SQLite: what was acknowledged is there, what was refused is not."""

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.faulty_disk import FaultyDisk

FAULTS = ("sync 5 1 -wal", "sync 5 9 -wal", "sync 5 2 .db", "sync 5 9 *", "write 5 1 -wal", "write 28 9 -wal")
"""Of the log, the database or both, some times; 5 is EIO, 28 ENOSPC. See `faulty_disk.c`."""


@pytest.fixture
def disk(tmp_path: Path) -> FaultyDisk:
    """A disk that forgets what it could not sync."""
    return FaultyDisk(tmp_path / "disk", has_memory=True)


def crashed(disk: FaultyDisk, *steps: str) -> tuple[dict[str, int], str]:
    """Of a process that did the steps and crashed: its tasks with their last durable seq, and its complaints."""
    files = str(disk.root / "x.db"), str(disk.fault_file)
    command = [sys.executable, "-m", "tests.support.disk_work", *files, *steps]
    done = subprocess.run(command, env=disk.env, capture_output=True, text=True, timeout=60, check=False)
    disk.heal()
    assert "Traceback" not in done.stderr, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    return {task_id: int(last_seq) for task_id, last_seq in said}, done.stderr


def found(folder: Path) -> dict[str, int]:
    """What a store in `folder` has: its tasks, each with the length of its log, which has no gap."""
    with closing(sqlite3.connect(folder / "x.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute(
            "SELECT task_id, last_seq, count(*), max(seq) FROM task JOIN event USING (task_id) GROUP BY task_id"
        ).fetchall()
    assert all(last == count == newest for _, last, count, newest in rows)
    return {task_id: last for task_id, last, _, _ in rows}


def test_write_whose_sync_failed_once_is_refused_and_gone(disk: FaultyDisk) -> None:
    """Its pages are in the log whole, and a process that comes after a crash must not take them for committed."""
    said, complaints = crashed(disk, "task=a,0,0", "fail=sync 5 1 -wal", "task=b,0,0")
    assert disk.failed == 1
    assert "the disk failed" in complaints
    assert said == {"a": 2}
    assert found(disk.root) == {"a": 2}


def test_what_follows_a_failed_sync_survives_a_power_cut(disk: FaultyDisk) -> None:
    """What the disk never got, though a reader sees it, must not stand before what is acknowledged later."""
    crashed(disk, "task=a,0,0", "fail=sync 5 9 -wal", "task=b,0,0")
    said, complaints = crashed(disk, "task=c,0,0")
    assert (said, complaints) == ({"c": 2}, "")
    kept = found(disk.held)
    assert (kept["a"], kept["c"]) == (2, 2)


def test_writes_are_taken_again_once_the_disk_is_sound(disk: FaultyDisk) -> None:
    """In the same process; until then each is refused."""
    steps = ["fail=sync 5 1000 *", "task=a,0,0", "task=b,0,0", "heal", "task=c,1,9"]
    said, complaints = crashed(disk, *steps)
    assert said == {"c": 3}
    assert complaints.count("the disk failed") == 2
    assert found(disk.held) == {"c": 3}


@pytest.mark.parametrize("seed", range(2))
def test_acknowledged_writes_survive_faults_crashes_and_a_power_cut(disk: FaultyDisk, seed: int) -> None:
    """Whatever fails when, and how often the process crashes and starts again: all that was answered is there."""
    rng, acknowledged = random.Random(seed), dict[str, int]()
    for life in range(4):
        steps = list[str]()
        for number in range(rng.randint(3, 20)):
            events, size = rng.randint(0, 5), rng.choice((10, 5000, 200_000))
            steps += [f"fail={rng.choice(FAULTS)}"] if rng.random() < 0.5 else []
            steps += [f"task={life}-{number},{events},{size}"]
            steps += ["heal"] if rng.random() < 0.5 else []
        acknowledged |= crashed(disk, *steps)[0]
    assert disk.failed > 0
    assert len(acknowledged) > 10
    kept = found(disk.held)
    assert {task_id for task_id, last in acknowledged.items() if kept.get(task_id, 0) < last} == set()
