"""The table of a run for `docs/performance.md`, its picture, and all of its figures as JSON."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from math import log10
from pathlib import Path
from typing import Final

from benchmarks.fanout.results import Cell, Cells, figures
from benchmarks.fanout.rows import ROWS
from benchmarks.fanout.servers import PEERS, REALTIME, ROOT

BEGIN, END = "<!-- made by benchmarks.fanout -->", "<!-- end -->"
"""Between them stands in `performance.md` what a run writes there."""
Table = Mapping[str, Cells]


def write(folder: Path, table: Table) -> None:
    """The three files; of `performance.md` only what is between the marks."""
    rows = {name: {server: cell.as_json() for server, cell in cells.items()} for name, cells in table.items()}
    whole = {"machine": machine(), "versions": versions(), "rows": rows}
    (folder / "performance.json").write_text(json.dumps(whole, indent=1) + "\n")
    (folder / "performance.svg").write_text(picture(table))
    page = folder / "performance.md"
    old = page.read_text() if page.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{markdown(table)}\n{END}{rest.partition(END)[2]}")


# --- where it ran


def machine() -> str:
    """Processor, kernel, load, and at which priority."""
    info = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", info)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    priority = os.environ.get(REALTIME)
    how = f"servers and load at real-time priority {priority}" if priority else "at the usual priority"
    when = datetime.now(UTC).date().isoformat()
    cores = f"{os.cpu_count()} cores of {name[1] if name else platform.machine()}"
    return f"{when}, {cores}, Linux {platform.release().partition('-')[0]}, load average at the end {load}, {how}"


def versions() -> dict[str, str]:
    """Of what was run."""
    lock = json.loads((PEERS / "package-lock.json").read_text())["packages"]
    python = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "peers.lock").read_text(), re.M))
    ours = {"Python": platform.python_version()} | {name: version(name) for name in ("aiohttp", "uvloop")}
    named = ("picows", "python-socketio", "starlette", "uvicorn", "websockets")
    return (
        ours
        | {"node": _said("node", "--version").removeprefix("v")}
        | {name: lock[f"node_modules/{name}"]["version"] for name in ("bun", "socket.io", "ws")}
        | {name: python[name] for name in named}
        | {
            "nginx with nchan": _said("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan")
            or "not there"
        }
    )


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


# --- as a page


def markdown(table: Table) -> str:
    """Three tables: what each costs, how long it takes, and what was wanted."""
    run = f"{machine()}. " + ", ".join(f"{name} {number}" for name, number in versions().items()) + "."
    return "\n\n".join(
        [
            run,
            "![CPU over the floor, by work and server](performance.svg)",
            "Server CPU for each delivery, request or handshake in us (memory: KiB); in brackets over the floor:",
            _matrix(table, _cost),
            "p50 / p99 in ms, and, where not all events were delivered, how many were:",
            _matrix({name: cells for name, cells in table.items() if name != "idle"}, _latency),
            "What is wanted of ours:",
            "\n".join(_verdicts(table)),
        ]
    )


def _matrix(table: Table, tell: Callable[[Cell, Cells], str]) -> str:
    servers = list(dict.fromkeys(server for cells in table.values() for server in cells))
    lines = [f"| | {' | '.join(servers)} |", "|---" * (len(servers) + 1) + "|"]
    for name, cells in table.items():
        told = (tell(cells[server], cells) if server in cells else "" for server in servers)
        lines.append(f"| {ROWS[name].name} | {' | '.join(told)} |")
    return "\n".join(lines)


def _cost(cell: Cell, cells: Cells) -> str:
    if not cell.each:
        return f"{cell.median('a_second'):,.0f}/s"
    floor = cells.get("floor")
    ratio = (
        f" ({cell.each / floor.each:.2f})" if floor is not None and cell.runs and floor is not cell else ""
    )
    return f"{_number(cell.each)}{ratio}"


def _latency(cell: Cell, _cells: Cells) -> str:
    share = cell.median("share")
    came = "" if share > 0.9995 else f", {share:.0%}"
    return f"{_number(cell.median('p50_us') / 1000)} / {_number(cell.median('p99_us') / 1000)}{came}"


def _number(value: float) -> str:
    """With three digits, and no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _verdicts(table: Table) -> Iterator[str]:
    yield "| | ours | beside | wanted | |\n|---|---|---|---|---|"
    for name, cells in table.items():
        for figure in figures(ROWS[name], cells):
            beside = (
                f"{figure.floor_name} {_number(figure.floor)}: {figure.ratio:.2f}" if figure.floor else ""
            )
            bounds = {"≤": figure.at_most, "≥": figure.at_least, "ratio ≤": figure.ratio_at_most}
            wanted = ", ".join(
                f"{sign} {_number(bound)}" for sign, bound in bounds.items() if bound is not None
            )
            yield f"| {figure.name} | {_number(figure.median)} {figure.unit} | {beside} | {wanted} | {figure.verdict} |"


# --- as a picture: a group of bars for each row, over its floor, on a logarithmic scale

WIDTH, LEFT, BAR, GAP = 760, 150, 13, 30
LEAST, MOST = 0.03, 100.0
COLOURS: Final = {"floor": "#8a8f98", "ours": "#2f6fde"}


def picture(table: Table) -> str:
    """An SVG of what each costs."""
    shapes: list[str] = []
    y = 24.0
    for name, cells in table.items():
        if "floor" not in cells or not cells["floor"].runs:
            continue
        shapes.append(f'<text x="8" y="{y}" font-weight="bold">{escape(ROWS[name].name)}</text>')
        for server, cell in ((name, cell) for name, cell in cells.items() if cell.each):
            y += BAR + 3
            shapes.append(_bar(server, cell, cells, y))
        y += GAP
    grid = [_line(value, y) for value in (0.1, 1.0, 10.0, 100.0)]
    inner = "\n".join([*grid, *shapes])
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}"'
    return (
        f'<svg {head} font-family="sans-serif" font-size="11">\n'
        f'<title>CPU over the floor, by work and server</title>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        f"{inner}\n</svg>\n"
    )


def _x(value: float) -> float:
    share = (log10(min(max(value, LEAST), MOST)) - log10(LEAST)) / (log10(MOST) - log10(LEAST))
    return LEFT + share * (WIDTH - LEFT - 150)


def _line(value: float, bottom: float) -> str:
    return (
        f'<line x1="{_x(value):.0f}" x2="{_x(value):.0f}" y1="12" y2="{bottom:.0f}" stroke="#ddd"/>'
        f'<text x="{_x(value):.0f}" y="10" text-anchor="middle" fill="#888">{value:g} × floor</text>'
    )


def _bar(server: str, cell: Cell, cells: Cells, y: float) -> str:
    ratio = cell.each / cells["floor"].each
    end, colour = _x(ratio), COLOURS.get(server, "#c9ced6")
    return (
        f'<text x="{LEFT - 6}" y="{y}" text-anchor="end">{escape(server)}</text>'
        f'<rect x="{LEFT}" y="{y - BAR + 3:.0f}" width="{end - LEFT:.0f}" height="{BAR - 2}" fill="{colour}"/>'
        f'<text x="{end + 4:.0f}" y="{y}" fill="#444">{cell.each:.3g} us ({ratio:.2f} ×)</text>'
    )
