"""The attacks are only made in a jail."""

import json
import subprocess
from pathlib import Path

from tests.escapes.attacks import files
from tests.escapes.range import COMMAND, Range


def test_attack_outside_a_jail_is_not_made(attack: Range, tmp_path: Path) -> None:
    """What can see the host's bait stops before it tries anything."""
    sent = attack.files(files.leave_behind, "left", 1)
    for name, text in sent.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    ended = subprocess.run(
        COMMAND["argv"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=20
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "this is not a jail: nothing was tried\n"
    assert json.loads(sent["order.json"])["attack"] == "leave_behind"
