"""A sandbox service on another machine, as far as one machine can play two: in a network of its own."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.journey


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and ip to make a network"
)
def test_site_on_another_machine_is_forwarded_to_and_closed_to_strangers() -> None:
    """Its door is on the service's address; who comes from the gateway's machine may enter, and nobody else."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.journeys.other_machine"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "status": 200,
        "text": "here",
        "to_stranger": [""],
        "to_machine": ["here"],
    }
