"""`python -m benchmarks.sandbox`: each figure of the local sandbox beside its floor, in the same run."""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from benchmarks.measure import Figure, tell
from benchmarks.sandbox import flow, starts, steering

PARTS: dict[str, Callable[[int, Path], Awaitable[list[Figure]]]] = {
    "warm": lambda runs, _: starts.from_the_pool(runs),
    "cold": lambda runs, _: starts.cold(runs),
    "idle": lambda runs, _: starts.idle_jail(runs),
    "bridge": lambda runs, _: flow.to_the_bridge(runs),
    "log": flow.through_the_log,
    "pause": lambda runs, _: steering.pause(runs),
    "kill": lambda runs, _: steering.kill(runs),
}


async def measure(part: str, runs: int) -> list[Figure]:
    """The figures of `part`."""
    with tempfile.TemporaryDirectory() as folder:
        return await PARTS[part](runs, Path(folder))


def main() -> None:
    """Measure, tell, and exit with 1 where something is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sandbox", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all where none is named"
    )
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--json", action="store_true", help="a JSON line for each figure")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    # Each part is told as soon as it is known.
    good = [tell(asyncio.run(measure(part, arguments.runs)), as_json=arguments.json) for part in parts]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
