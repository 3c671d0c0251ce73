"""`python -m benchmarks.state [PART…]`: what the state store does, part by part."""

import sys
from collections.abc import Callable
from typing import Final

from benchmarks.measure import Figure, tell
from benchmarks.state import appends, checkpoints, unchanged

PARTS: Final[dict[str, Callable[[], list[Figure]]]] = {
    "appends": appends.measure,
    "checkpoints": checkpoints.measure,
    "unchanged": unchanged.measure,
}


def main(arguments: list[str]) -> int:
    """Measure the parts that are named, or all; 1 where one is not what it should be."""
    named = [argument for argument in arguments if argument != "--json"]
    figures = [figure for name in named or PARTS for figure in PARTS[name]()]
    return 0 if tell(figures, as_json="--json" in arguments) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
