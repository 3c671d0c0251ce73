"""`python -m benchmarks.fanout.memory [--events N] [--connections N]`: what one of each takes of the gateway's memory.

With numbers, also what is left behind by so many events that were made and watched, and by so many connections that
came, were welcomed and went: the gateway's memory every few seconds.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.fanout.load import idle_kib, memory_kib, run_load
from benchmarks.fanout.ours import Service, instance, watched_from
from benchmarks.fanout.rows import ROWS
from benchmarks.fanout.servers import Server
from benchmarks.measure import Figure, disk, tell

CONNECTIONS, TASKS = 4000, 1000
FINISHED_S: Final = 6.0
STEP_S: Final = 10.0
Step = Callable[[Server], int]
"""Puts something on the server for a while; how many it was."""


@contextmanager
def fresh() -> Iterator[tuple[Server, Service, Path]]:
    """A gateway that has done nothing yet, and where its data is."""
    with disk() as folder, instance(str(folder / "data")) as (server, service):
        yield server, service, folder / "data"


def connection() -> Figure:
    """One that is welcome and asks for nothing."""
    with fresh() as (server, _, _):
        kib = idle_kib(server, {"work": "idle", "connections": CONNECTIONS})
    return Figure("a connection", "KiB", [kib])


def subscription() -> Figure:
    """One, with its connection."""
    with fresh() as (server, service, _):
        server.tasks = watched_from(service, service.running(1))
        kib = idle_kib(server, {"work": "idle", "connections": CONNECTIONS})
    return Figure("a connection with one subscription", "KiB", [kib], at_most=16)


def running_task() -> Figure:
    """One of an agent that waits."""
    with fresh() as (server, service, _):
        service.running(10)
        before = memory_kib(server)
        service.running(TASKS)
        kib = (memory_kib(server) - before) / TASKS
    return Figure("a running task, of an agent", "KiB", [kib])


def finished_tasks() -> list[Figure]:
    """Those that an agent has ended at once: what is left in memory, and on disk."""
    with fresh() as (server, _, data):
        step = {**ROWS["submit-run"].work, "seconds": 1.0}
        run_load(server, step)
        memory, stored = memory_kib(server), bytes_of(data)
        count = run_load(server, {**step, "warm": 0, "seconds": FINISHED_S}).done
        kib, each = (memory_kib(server) - memory) / count, (bytes_of(data) - stored) / count / 1024
    return [
        Figure("a finished task, in memory", "KiB", [kib]),
        Figure("a finished task, on disk", "KiB", [each]),
    ]


def bytes_of(folder: Path) -> int:
    """What the files in it use."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


# --- what is left behind


def events(server: Server) -> int:
    """A task's events, as many as go, with two who watch."""
    work = {"work": "events", "connections": 2, "window": 256, "warm": 0, "seconds": STEP_S}
    return run_load(server, work).made


def connections(server: Server) -> int:
    """They come, are welcomed, and go."""
    work = {"work": "handshakes", "connections": 32, "warm": 0, "seconds": STEP_S}
    return run_load(server, work).done


def growth(name: str, step: Step, wanted: int) -> list[int]:
    """The gateway's memory, in KiB, after each step, until `wanted` of them are done; printed, too."""
    with fresh() as (server, service, _):
        server.tasks = watched_from(service, service.running(1))
        done, memory = 0, list[int]()
        while done < wanted:
            done += step(server)
            memory.append(memory_kib(server))
            sys.stdout.write(f"{done:>12,} {name}: {memory[-1] / 1024:.1f} MiB\n")
            sys.stdout.flush()
    return memory


def grown(name: str, step: Step, wanted: int) -> Figure:
    """What the second half of them has added to the memory, in MiB."""
    memory = growth(name, step, wanted)
    added = (memory[-1] - memory[len(memory) // 2]) / 1024
    return Figure(f"added by the second half of {wanted:,} {name}", "MiB", [added], at_most=4)


def main() -> int:
    """All of each kind; and what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout.memory", description=__doc__)
    parser.add_argument("--events", type=int, default=0)
    parser.add_argument("--connections", type=int, default=0)
    given = parser.parse_args()
    if given.events or given.connections:
        wanted = [("events", events, given.events), ("connections", connections, given.connections)]
        found = [grown(name, step, count) for name, step, count in wanted if count]
    else:
        found = [connection(), subscription(), running_task(), *finished_tasks()]
    return not tell(found, as_json=False)


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())
