"""The repository as a stranger gets it: locks that work anywhere, and nothing of one machine."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.house.source import ROOT

PYTHON_LOCKS = ("requirements.lock", "build.lock", "node.lock", "peers.lock")
NODE_LOCKS = (
    "web/package-lock.json",
    "benchmarks/fanout/peers/package-lock.json",
    "tests/support/asyncapi/package-lock.json",
)


@pytest.mark.parametrize("lock", PYTHON_LOCKS)
def test_python_lock_names_no_host_and_pins_all(lock: str) -> None:
    """Every line of a Python lock is a version or a hash: any index can serve it."""
    lines = (ROOT / lock).read_text("utf-8").splitlines()
    pinned = re.compile(
        r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==[0-9][^ /]*( ; [^/]*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?"
    )
    assert [line for line in lines if not pinned.fullmatch(line)] == []


@pytest.mark.parametrize("lock_file", NODE_LOCKS)
def test_node_lock_names_no_host(lock_file: str) -> None:
    """A lock of Node's packages says what (version, integrity), and never where from."""
    lock = json.loads((ROOT / lock_file).read_text("utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if "integrity" not in package] == []


def test_lock_holds_every_dependency() -> None:
    """What pyproject.toml asks for is in the lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    names = {re.split(r"[\[<>=; ]", line)[0].lower().replace("_", "-") for line in wanted}
    locked = re.findall(
        r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==", (ROOT / "requirements.lock").read_text("utf-8"), re.M
    )
    assert names - set(locked) == set()


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_migrations_have_a_number_each(store: str) -> None:
    """A script's number is the schema it makes: 1, 2, 3, … without a gap, none twice."""
    names = sorted(path.name for path in (ROOT / "gateway/state/migrations" / store).glob("*.sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_repository_names_no_machine() -> None:
    """No committed file knows where on somebody's machine it was written."""
    home = re.compile(rb"/(?:home|Users)/\w+/|/\.pyenv/")
    found = [
        path.relative_to(ROOT).as_posix()
        for path in _committed()
        if home.search(content := path.read_bytes()) or str(ROOT).encode() in content
    ]
    assert found == []


def test_nothing_is_committed_that_a_build_makes() -> None:
    """What `.gitignore` names is not in the repository: a library of one machine would be everybody's."""
    assert [path.name for path in _committed("--cached", "--ignored", "--exclude-standard")] == []


def _committed(*which: str) -> list[Path]:
    """Those files, or all."""
    command = ["git", "ls-files", "-z", *which]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]
