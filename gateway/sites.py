"""Sites: what a task has put up in its sandbox, for whoever has the site's label."""

import hashlib
from dataclasses import dataclass
from typing import Final

LABEL_BITS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site, where it is reached, and who holds it.

    `host` is the one that was dialled to the sandbox, never one that the sandbox named; None where there is none,
    and nobody else can reach the site. `used_at` is when somebody last asked for it, in ms since 1970 UTC.
    `holder` is the URL at which other instances reach the one that met the sandbox; None where it has none.
    """

    label_hash: bytes
    task_id: str
    session_id: str
    sandbox_id: str
    boot_id: str
    host: str | None
    port: int
    used_at: int
    holder: str | None = None


def label_of(bits: int) -> str:
    """The label, a DNS name's one, that `LABEL_BITS` random bits make: a secret, which is in the site's URL alone."""
    return f"{bits:032x}"


def hash_of(label: str) -> bytes:
    """What is kept of a label."""
    return hashlib.sha256(label.encode()).digest()
