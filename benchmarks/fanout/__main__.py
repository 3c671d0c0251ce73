"""`python -m benchmarks.fanout [ROW…]`: ours beside its peers and the floor, in one run."""

import argparse
import sys
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.fanout.load import built, idle_kib, run_load
from benchmarks.fanout.ours import ours
from benchmarks.fanout.report import write
from benchmarks.fanout.results import Cell, Cells, figures, line
from benchmarks.fanout.rows import ROWS, Row
from benchmarks.fanout.servers import JSON, NCHAN, PEERS, SOCKET_IO, Server, Start, node, peer, python
from benchmarks.fanout.synced import synced
from benchmarks.fanout.with_redis import ours_with_redis, socketio_with_redis
from benchmarks.measure import tell

SERVERS: Final[Mapping[str, Start]] = {
    "floor": peer(JSON, str(built("floor"))),
    "ours": ours,
    "bun": peer(JSON, str(PEERS / "node_modules/.bin/bun"), str(PEERS / "bun.mjs")),
    "nchan": python("nchan", NCHAN),
    "picows": python("picows", JSON),
    "ws": node("ws", JSON),
    "socketio": node("socketio", SOCKET_IO),
    "websockets": python("websockets", JSON),
    "starlette": python("starlette", JSON),
    "python-socketio": python("socketio", SOCKET_IO),
    "ours+redis": ours_with_redis,
    "socketio+redis": socketio_with_redis,
}


def measure(row: Row, names: Collection[str], rounds: int, times: Mapping[str, float]) -> Cells:
    """Each of the servers in turn, so many times; all of them are up all the time."""
    cells = {name: Cell() for name in row.servers(names)}
    allowed = Cell()
    with ExitStack() as up:
        servers = {name: up.enter_context(SERVERS[name](row.tasks)) for name in cells}
        # Memory that a first crowd has used stays with a process: only the first is counted.
        for _ in range(1 if row.work["work"] == "idle" else rounds):
            for name, server in servers.items():
                run(row, server, cells[name], times)
            allowed.runs += [synced(0.5)] if row.beside_disk else []
    return cells | ({"disk": allowed} if row.beside_disk else {})


def run(row: Row, server: Server, cell: Cell, times: Mapping[str, float]) -> None:
    """Once more."""
    if row.work["work"] == "idle":
        cell.kib.append(idle_kib(server, row.work))
    else:
        cell.runs.append(run_load(server, {**times, **row.work}))


def show(row: Row, cells: Cells) -> None:
    """Print it for people."""
    sys.stdout.write(f"{row.name}\n")
    for name, cell in cells.items():
        sys.stdout.write(f"  {name:<16} {line(cell, row, cells.get('floor'))}\n")
    sys.stdout.flush()


def main() -> int:
    """Measure what is asked for; 1 where it is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; or all")
    parser.add_argument("--servers", default=",".join(SERVERS), help="of %(default)s")
    parser.add_argument("--quick", action="store_true", help="one round, and the servers of the ratios alone")
    parser.add_argument("--warm", type=float, default=1.0, help="seconds before each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each run")
    parser.add_argument("--into", type=Path, help="a folder for performance.json, .md and .svg")
    given = parser.parse_args()
    rounds, times = given.rounds, {"warm": given.warm, "seconds": given.seconds, "drain": 5.0}
    if given.quick:
        rounds, times = 1, {"warm": 0.5, "seconds": 1.0, "drain": 2.0}
    table: dict[str, Cells] = {}
    for name in given.rows or ROWS:
        names = ROWS[name].compared if given.quick else given.servers.split(",")
        table[name] = measure(ROWS[name], names, rounds, times)
        show(ROWS[name], table[name])
    if given.into is not None:
        write(given.into, table)
    return not tell(
        [figure for name, cells in table.items() for figure in figures(ROWS[name], cells)], as_json=False
    )


if __name__ == "__main__":
    sys.exit(main())
