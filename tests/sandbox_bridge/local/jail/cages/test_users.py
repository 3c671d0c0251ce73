"""Cages for those who are not root: a user who was given a part of the control groups, and one with nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.escapes.operators import names, operator
from tests.sandbox_bridge.local.service import ROOT

SUITE = Path(__file__).with_name("test_cage.py")
DESCRIBE = """
import asyncio, json
from sandbox_bridge.local.jail.cages.finder import find_cages

async def main():
    cages = await find_cages(counts_processes=True)
    print(json.dumps(cages.description))
    cages.close()

asyncio.run(main())
"""
pytestmark = pytest.mark.skipif(names() == ["ourselves"], reason="only root can be somebody else")


def as_user(name: str, *arguments: str) -> str:
    """What Python says, run by that operator."""
    with operator(name) as who:
        ended = subprocess.run(
            [*who.prefix, sys.executable, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    return ended.stdout


@pytest.mark.parametrize("name", ["delegated", "plain"])
def test_cages_of_a_user_hold(name: str) -> None:
    """The best cage that an ordinary user has is held to the same rules as root's."""
    as_user(name, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "best", str(SUITE))


def test_user_with_nothing_is_told_so() -> None:
    """Without control groups memory is watched, processes are counted by the user, and a pause is a signal."""
    found = json.loads(as_user("plain", "-c", DESCRIBE))
    assert found == {"memory": "watchdog", "processes": "rlimit", "cpu": "watchdog", "freeze": "signals"}


def test_delegated_user_has_what_root_has() -> None:
    """A part of the control groups is as good as all of them: it is found through our own place in them."""
    ours = json.loads(as_user("root", "-c", DESCRIBE))
    assert json.loads(as_user("delegated", "-c", DESCRIBE)) == ours
