"""What a disk allows: so many submits at once in one write and one sync, again and again."""

import os
import time
from statistics import median

from benchmarks.fanout.load import Loaded
from benchmarks.measure import disk

TOGETHER = 64
BYTES = 1024
"""Of a task's row and its first event, about."""


def synced(seconds: float) -> Loaded:
    """A log that is written over, as SQLite's is."""
    block, took = os.urandom(TOGETHER * BYTES), list[float]()
    with disk() as folder:
        log = os.open(folder / "log", os.O_RDWR | os.O_CREAT)
        os.pwrite(log, block, 0)
        os.fsync(log)
        while sum(took) < seconds:
            began = time.perf_counter()
            os.pwrite(log, block, 0)
            os.fdatasync(log)
            took.append(time.perf_counter() - began)
        os.close(log)
    longest = sorted(took)[int(len(took) * 0.99)]
    return Loaded(
        seconds=sum(took),
        done=len(took) * TOGETHER,
        cpu_us=(),
        own_cpu=0,
        made=0,
        due=0,
        owed=0,
        gaps=0,
        lost=0,
        drain_s=0,
        p50_us=median(took) * 1e6,
        p99_us=longest * 1e6,
        max_us=max(took) * 1e6,
    )
