"""Steps that are durable one by one: ours beside LangGraph's and DBOS', in turn, on the same disk."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.measure import Figure

ROOT: Final = Path(__file__).parents[2]
PEERS: Final = ROOT / ".tools" / "peers"
"""Where `./dev bench state` puts their packages, of versions of their own."""
RUNS: Final = 3
SMALL: Final = 100
LARGE: Final = 1 << 20
"""Bytes of a step's state."""
TOGETHER: Final = 100
"""Workflows at once."""
RATIOS: Final = {1: 3.0, TOGETHER: 10.0}
"""How many of a peer's steps ours are to be, by how many workflows there are at once."""
STEPS: Final = {"ours": {1: 300, TOGETHER: 30}, "peers": {1: 100, TOGETHER: 6}}


def ours(workflows: int, steps: int, state_bytes: int) -> float:
    """Our steps a second."""
    return _ran(["-m", "benchmarks.state.ours"], {}, workflows, steps, state_bytes)


def peer(name: str, workflows: int, steps: int, state_bytes: int) -> float:
    """Those of the peer of that name."""
    program = ROOT / "benchmarks" / "state" / "peers" / f"{name}_steps.py"
    return _ran([str(program)], {"PYTHONPATH": str(PEERS)}, workflows, steps, state_bytes)


def _ran(program: list[str], env: dict[str, str], *numbers: int) -> float:
    # Not on a file system in memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
        command = [sys.executable, *program, folder, *map(str, numbers)]
        done = subprocess.run(command, env=os.environ | env, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["steps_s"])


def measure() -> list[Figure]:
    """All of it."""
    return [*(figure for workflows in RATIOS for figure in beside_peers(workflows)), unchanged()]


def beside_peers(workflows: int) -> list[Figure]:
    """So many workflows at once, ours and each peer's in turn."""
    mine, theirs = list[float](), {"langgraph": list[float](), "dbos": list[float]()}
    for _run in range(RUNS):
        mine.append(ours(workflows, STEPS["ours"][workflows], SMALL))
        for name, runs in theirs.items():
            runs.append(peer(name, workflows, STEPS["peers"][workflows], SMALL))
    return [
        Figure(
            f"durable steps, {workflows} workflow{'s' if workflows > 1 else ''}",
            "1/s",
            mine,
            name,
            runs,
            ratio_at_least=RATIOS[workflows],
        )
        for name, runs in theirs.items()
    ]


def unchanged() -> Figure:
    """What a step costs whose state is large and stays as it was, beside one with a small state."""
    pairs = [(1000 / ours(1, 200, LARGE), 1000 / ours(1, 200, SMALL)) for _run in range(RUNS)]
    return Figure(
        "step with an unchanged 1 MiB state",
        "ms",
        [large for large, _ in pairs],
        "small state",
        [small for _, small in pairs],
        ratio_at_most=2.0,
    )
