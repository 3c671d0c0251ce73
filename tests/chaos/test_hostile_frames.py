"""A million hostile frames, and long searches by coverage: nothing crashes, leaks, or is left unanswered."""

import json
import os
import random
from pathlib import Path
from typing import Final

import pytest

from tests.support.decoders import DECODERS
from tests.support.gateway import client, running_gateway
from tests.support.guided_search import Search
from tests.support.hostile_clients import ENV, Tally, attack, is_well
from tests.support.hostile_frames import FROM_SANDBOX, REQUESTS, TO_SANDBOX, Maker
from tests.support.processes import rss_mib

FRAMES: Final = int(os.environ.get("HOSTILE_FRAMES", "1000000"))
SEED: Final = int(os.environ.get("HOSTILE_SEED", "1"))
STEPS: Final = 10
WARM: Final = STEPS // 2
"""Steps after which all that a process keeps for good is there, the caches of SQLite's connections among it."""
RUNS: Final = 100_000
TEMPLATES: Final = {"requests": REQUESTS, "from sandboxes": FROM_SANDBOX, "to sandboxes": TO_SANDBOX}


@pytest.mark.timeout(7200)
async def test_million_hostile_frames(tmp_path: Path) -> None:
    """All texts are answered, all else closes; half a million more cost no memory beyond 5 %, and no descriptors."""
    tally = Tally()
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=ENV) as gateway:
        async with client(gateway.socket_url) as honest:
            ids = [await honest.submit("true", mode="background") for _ in range(3)]
            taken, files = list[float](), list[int]()
            for step in range(STEPS):
                await attack(gateway, ids, seed=SEED + step * FRAMES, frames=FRAMES // STEPS, tally=tally)
                taken.append(rss_mib(gateway.pid))
                files.append(_descriptors(gateway.pid))
                print(f"{tally.frames} frames, {taken[-1]:.1f} MiB, {files[-1]} descriptors")  # noqa: T201
            assert await is_well(honest)
            print(tally.codes, tally.closes)  # noqa: T201
            assert taken[-1] <= 1.05 * taken[WARM - 1]
            assert files[-1] <= files[WARM - 1] + 10
        assert await gateway.stop() == 0
    said = (tmp_path / "data.log").read_text()
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if json.loads(line)["level"] == "error"] == []


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - of another process


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", DECODERS)
def test_long_search_finds_nothing(name: str) -> None:
    """Guided by coverage, from texts that are almost frames, too."""
    decoder, rng = DECODERS[name], random.Random(SEED)
    maker = Maker(rng)
    made = [maker.text(TEMPLATES[name]) for _ in range(1000)] if name in TEMPLATES else []
    search = Search(decoder.read, decoder.files, rng)
    search.run([*decoder.seeds, *made], RUNS)
    print(f"{name}: {len(search.steps)} steps between lines, {len(search.kept)} inputs kept")  # noqa: T201
