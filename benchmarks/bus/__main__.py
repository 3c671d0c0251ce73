"""`python -m benchmarks.bus`: what a second instance costs, beside a bare publish by the same Redis."""

import argparse
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop

from benchmarks.bus import buses, control, deliveries, events
from benchmarks.measure import Figure, tell

PARTS: Final[dict[str, Callable[[int], Awaitable[list[Figure]]]]] = {
    "buses": buses.measure,
    "events": events.measure,
    "control": control.measure,
    "deliveries": deliveries.measure,
}


async def measure(part: str, runs: int) -> list[Figure]:
    """The figures of `part`."""
    return await PARTS[part](runs)


def main() -> None:
    """Measure, tell, and exit with 1 where something is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bus", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all where none is named"
    )
    parser.add_argument("--runs", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--json", action="store_true", help="a JSON line for each figure")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    good = [tell(uvloop.run(measure(part, arguments.runs)), as_json=arguments.json) for part in parts]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
