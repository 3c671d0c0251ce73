"""Replay one seed, and tell its story: `python -m tests.simulation SEED [INSTANCES]`."""

import json
import sys
from typing import Any

from tests.simulation.life import Life
from tests.simulation.oracle import virtual_s
from tests.simulation.runs import fresh_run
from tests.simulation.world import Seed

WIDTH = 110


def told(event: dict[str, Any]) -> str:
    """An event as a line."""
    data = json.dumps(event["data"], ensure_ascii=False)
    return f"  {virtual_s(event):8.3f} {event['seq']:5} {event['event']:9} {data[:WIDTH]}{'…' * (len(data) > WIDTH)}"


def story_of(life: Life) -> list[str]:
    """A task, from its order to its end."""
    wishes = [
        f"  {w.answered_at:8.3f} {w.kind}{', refused' * w.refused} at seq {w.last_seq}" for w in life.wishes
    ]
    return [f"{life.order}", *wishes, *(told(event) for event in life.events)]


def story(seed: Seed) -> list[str]:
    """All of it."""
    faults = [f"  {fault}" for fault in seed.faults]
    lives = [line for life in seed.lives for line in ["", *story_of(life)]]
    seen = ", ".join(f"{name} {count}" for name, count in sorted(seed.sightings.items()) if count)
    end = f"FAILED: {seed.error}" if seed.error is not None else "held"
    return ["what went wrong", *faults, *lives, "", f"seen: {seen}", f"seed {seed.number}: {end}"]


def main(arguments: list[str]) -> int:
    """Print the story; the exit code is 1 where the seed fails."""
    number, instances = [*map(int, arguments), 1][:2]
    seed = fresh_run(number, instances)
    sys.stdout.write("\n".join(story(seed)) + "\n")
    return int(seed.error is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
