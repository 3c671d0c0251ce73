"""The load client (`load.c`): built here, run on a core of its own, and what it says."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.fanout.servers import LOAD_CORE, TOOLS, Server, on_core

HERE: Final = Path(__file__).parent


@cache
def built(name: str) -> Path:
    """The program of `name.c`, compiled where it is not newer than its source."""
    program, sources = TOOLS / name, [HERE / f"{name}.c", HERE / "websocket.h"]
    if not program.exists() or program.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        TOOLS.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", program, sources[0]], check=True)
    return program


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one run of the load came to."""

    seconds: float
    done: int
    """Deliveries, answers or handshakes in that time."""
    cpu_us: tuple[float, ...]
    """What each process of the server had of a core in that time, in us."""
    own_cpu: float
    """What the load had of its core: 1 is all of it."""
    made: int
    due: int
    owed: int
    """Events that were asked for in all, the deliveries that were to come of them, and those that did not, ever."""
    gaps: int
    """Breaks in the numbers of events."""
    lost: int
    """Connections and requests that failed."""
    drain_s: float
    p50_us: float
    p99_us: float
    max_us: float

    @property
    def each_us(self) -> float:
        """The server's CPU for one delivery, answer or handshake, in us."""
        return sum(self.cpu_us) / max(self.done, 1)

    @property
    def a_second(self) -> float:
        """How many of them there were."""
        return self.done / self.seconds

    @property
    def cores(self) -> float:
        """How much of a core the server had."""
        return sum(self.cpu_us) / 1e6 / self.seconds

    @property
    def share(self) -> float:
        """Of the deliveries that were to come, those that came."""
        return 1 - self.owed / self.due if self.due else 1.0


def words_for(server: Server, work: Mapping[str, object], tasks: Sequence[str], file: str) -> list[str]:
    """The load's command line."""
    speech = server.speech
    words = [str(built("load")), "port", str(server.port), "path", speech.path, "source", str(server.source)]
    for header in speech.headers:
        words += ["header", header]
    for prefix, text in speech.on(watches=bool(tasks)):
        words += ["on", f"{prefix}\t{text}"]
    for pid in server.pids:
        words += ["pid", str(pid)]
    words += ["ask", speech.ask]
    words += [str(part) for pair in work.items() for part in pair]
    return [*words, "tasks", file] if tasks else words


@contextmanager
def _command(server: Server, work: Mapping[str, object]) -> Iterator[list[str]]:
    tasks = server.tasks() if work["work"] in {"events", "idle"} else ()
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(f"{task}\n" for task in tasks)
        file.flush()
        yield on_core(LOAD_CORE, words_for(server, work, tasks, file.name))


def run_load(server: Server, work: Mapping[str, object]) -> Loaded:
    """Put `work`, words of `load.c`, on `server`. Raises `CalledProcessError` where it can't be done."""
    with _command(server, work) as command:
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
    figures = json.loads(said.stdout)
    figures["cpu_us"] = tuple(ns / 1000 for ns in figures.pop("cpu_ns"))
    return Loaded(**figures)


def idle_kib(server: Server, work: Mapping[str, object]) -> float:
    """What each idle connection of `work` takes of the server's memory, in KiB; the kernel's part is not in it."""
    before = memory_kib(server)
    with (
        _command(server, work) as command,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load,
    ):
        assert load.stdin is not None
        assert load.stdout is not None
        assert load.stdout.readline() == b"ready\n"
        time.sleep(1)  # what a handshake leaves behind goes
        after = memory_kib(server)
        load.stdin.close()
    return (after - before) / int(str(work["connections"]))


def memory_kib(server: Server) -> int:
    """What the server has for itself, and its part of what it shares."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in server.pids]
    return sum(
        int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith("Pss:")
    )
