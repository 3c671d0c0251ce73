"""`python -m benchmarks.fanout [ROW…]`: ours beside its peers and the floor, in one run."""

import argparse
import statistics
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from benchmarks.fanout.load import Loaded, built, run_load
from benchmarks.fanout.ours import ours
from benchmarks.fanout.rows import ROWS, Row
from benchmarks.fanout.servers import JSON, PEERS, Start, node, peer

SERVERS: Final[Mapping[str, Start]] = {
    "floor": peer(JSON, str(built("floor"))),
    "ours": ours,
    "socketio": node("socketio"),
    "ws": node("ws"),
    "bun": peer(JSON, str(PEERS / "node_modules/.bin/bun"), str(PEERS / "bun.mjs")),
}


def measure(row: Row, names: list[str], rounds: int, seconds: float) -> dict[str, list[Loaded]]:
    """Each of the servers in turn, `rounds` times; all of them are up all the time."""
    runs: dict[str, list[Loaded]] = {name: [] for name in names}
    with ExitStack() as up:
        servers = {name: up.enter_context(SERVERS[name](row.tasks)) for name in names}
        for _ in range(rounds):
            for name, server in servers.items():
                runs[name].append(run_load(server, {**row.work, "seconds": seconds}))
    return runs


def tell(row: Row, runs: Mapping[str, list[Loaded]]) -> None:
    """Print it for people."""
    sys.stdout.write(f"{row.name}\n")
    floor = statistics.median(run.each_us for run in runs["floor"]) if "floor" in runs else None
    for name, each in runs.items():
        sys.stdout.write(f"  {name:<16} {line(each, floor, row.unit)}\n")
    sys.stdout.flush()


def line(each: list[Loaded], floor: float | None, unit: str) -> str:
    """The median run's figures."""
    middle = sorted(each, key=lambda run: run.each_us)[len(each) // 2]
    mine = statistics.median(run.each_us for run in each)
    return "  ".join(
        [
            f"{mine:8.2f} us a {unit}",
            f"{mine / floor:6.2f} x floor" if floor else "",
            f"p50 {middle.p50_us / 1000:.1f} p99 {middle.p99_us / 1000:.1f} ms",
            f"{middle.a_second:,.0f}/s",
            f"cores {middle.cores:.2f} load {middle.own_cpu:.2f}",
            f"came {middle.share:.1%} gaps {sum(run.gaps for run in each)} lost {sum(run.lost for run in each)}",
        ]
    )


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="which, or all")
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    given = parser.parse_args()
    for name in given.rows or ROWS:
        tell(ROWS[name], measure(ROWS[name], given.servers.split(","), given.rounds, given.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
