"""Older builds of this repository, to run beside what is here: their code, with the packages that are installed."""

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

from tests.house.source import ROOT

MIGRATIONS: Final = "gateway/state/migrations/postgresql/"


class NoBuildError(Exception):
    """An older commit can't be had here."""


def before_the_schema_changed() -> str:
    """The newest commit that knows a shorter row of PostgreSQL's migrations. Raises `NoBuildError`."""
    now = len(_scripts("HEAD"))
    for commit in _git("log", "--format=%H", "--", MIGRATIONS).split():
        if len(_scripts(f"{commit}^")) < now:
            return f"{commit}^"
    raise NoBuildError("no commit with an older schema is in this clone's history")


def unpacked(commit: str, folder: Path) -> Path:
    """Where the code of `commit` is, as it was. Raises `NoBuildError`."""
    with tarfile.open(fileobj=io.BytesIO(_git_bytes("archive", "--format=tar", commit))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def schema_of(commit: str) -> int:
    """How many of PostgreSQL's migrations it knows. Raises `NoBuildError`."""
    return len(_scripts(commit))


def _scripts(commit: str) -> list[str]:
    return _git("ls-tree", "--name-only", commit, MIGRATIONS).split()


def _git(*words: str) -> str:
    return _git_bytes(*words).decode()


def _git_bytes(*words: str) -> bytes:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise NoBuildError(f"git {' '.join(words)}: {done.stderr.decode().strip()}")
    return done.stdout
