"""Thousands of generated hostile frames against a running gateway."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.support.gateway import client, running_gateway
from tests.support.hostile_clients import ENV, Tally, attack, is_well
from tests.support.hostile_frames import KILLERS

pytestmark = pytest.mark.journey

FRAMES: Final = 11_000


async def test_hostile_frames_are_answered_or_end_their_connection(tmp_path: Path) -> None:
    """Each text has one answer, in the contract's words and without a stack; what breaks the WebSocket protocol closes
    with its code; nobody else notices, nothing of it is an error of ours, and the gateway's end is a clean one."""
    tally = Tally()
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=ENV) as gateway:
        async with client(gateway.socket_url) as honest:
            ids = [await honest.submit("true", mode="background") for _ in range(3)]
            await attack(gateway, ids, seed=8, frames=FRAMES, tally=tally)
            assert await is_well(honest)
        assert await gateway.stop() == 0
    said = (tmp_path / "data.log").read_text()
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if json.loads(line)["level"] == "error"] == []
    # Nothing of this is true where nothing was sent.
    assert {"ok", "bad_frame", "task_not_found", "invalid_state"} <= tally.codes.keys()
    assert tally.codes["bad_frame"] > FRAMES / 4
    assert {kind.partition(":")[0] for kind in tally.closes} == {*KILLERS, "sandbox"}
