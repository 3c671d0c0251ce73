"""What the processes of a test run have left behind, searched for what must not be in it.

Searched are logs, audit files and databases below the run's temporary folder, and what a PostgreSQL server of the
tests has on disk, before it goes. Whoever starts a gateway notes the secrets of its environment (`note`); tokens are
known by their shape; `CANARY` is in the environment of every gateway and in no command or file, `CONTENT` is in files
and commands of tests, and has its place in databases alone.
"""

import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

CANARY: Final = "canary-of-an-environment-7f3a91c05e"
CONTENT: Final = "canary-of-a-file-or-command-2b8d640fe1"
NOTED: Final = ".secrets"
"""Suffix of the files in which the secrets of a folder's gateways are noted."""
TOKEN: Final = re.compile(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}")
_NAMED: Final = re.compile(r"SECRET|TOKEN|PASSWORD")
LOGS: Final = ("*.log", "*.audit", "audit*.jsonl", "*.metrics")
DATABASES: Final = ("*.db", "*.db-wal", "*.sst", "*.vlog")
POSTGRESQL: Final = ("data/base/[0-9]*/[0-9]*", "data/pg_wal/[0-9A-F]*", "log")
"""Of a cluster: tables as they are, all that was ever written to them, and what the server said."""
SHIPPED: Final = frozenset({"1", "4"})
"""Databases that come with each cluster, to be copied: nobody connects to them."""
_noted_here = set[str]()


def note(where: Path, env: Mapping[str, str]) -> None:
    """Keep which secrets a process has that is started with `env`, for the end of the run."""
    found = sorted(set(_secrets(env)))
    _noted_here.update(found)
    if found:
        where.with_suffix(NOTED).write_text(json.dumps(found))


def _secrets(env: Mapping[str, str]) -> Iterator[str]:
    for name, value in env.items():
        password = urlsplit(value).password if "://" in value else None
        found = password or (value if _NAMED.search(name) else "")
        if len(found) >= 8:
            yield found


def findings(below: Path) -> list[str]:
    """What was found where it does not belong, in words that do not repeat it."""
    noted = {secret for file in below.rglob(f"*{NOTED}") for secret in json.loads(file.read_text())}
    everywhere = {CANARY, *noted}
    found = [*_found_in(below, LOGS, {*everywhere, CONTENT}), *_found_in(below, DATABASES, everywhere)]
    return sorted(found)


def findings_in_cluster(folder: Path) -> list[str]:
    """What a PostgreSQL server that has stopped left in `folder`, of the secrets that this process has noted."""
    wanted = {secret.encode(): secret for secret in {CANARY, *_noted_here}}
    files = (file for pattern in POSTGRESQL for file in folder.glob(pattern))
    return sorted(
        f"{file.relative_to(folder)}: {what}"
        for file in files
        if file.parent.name not in SHIPPED and file.is_file() and file.stat().st_size
        for what in _found(file, wanted)
    )


def _found_in(below: Path, patterns: Iterable[str], secrets: Iterable[str]) -> Iterator[str]:
    wanted = {secret.encode(): secret for secret in secrets}
    for file in {file for pattern in patterns for file in below.rglob(pattern)}:
        if file.is_file() and not file.is_symlink() and file.stat().st_size:
            yield from (f"{file.relative_to(below)}: {what}" for what in _found(file, wanted))


def _found(file: Path, wanted: Mapping[bytes, str]) -> Iterator[str]:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for bytes_of, secret in wanted.items():
            if (at := data.find(bytes_of)) >= 0:
                yield f"a secret that begins with {secret[:6]!r}, at {at}"
        if (token := TOKEN.search(data)) is not None:
            yield f"a token, at {token.start()}"
