"""The audit log's file, as `gateway check` finds it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.server.checks.parts import Finding, shown_size, warned_if
from gateway.settings import Settings

LARGE_BYTES: Final = 1 << 30
"""A file that nobody seems to rotate: some five million lines."""


def audit(settings: Settings) -> Iterator[Finding]:
    """Whether a line could be appended, who else may read it, and whether anybody rotates it."""
    path = settings.audit_file
    if path is None:
        return
    if (problem := _problem(path)) is not None:
        fix = "let this user append there, or name another place with GATEWAY_AUDIT_FILE: without it nothing is noted"
        yield Finding("audit", "fail", f"{path} can't be written: {problem}", fix)
        return
    yield Finding(
        "audit", "ok", f"who changes what is noted in {path}, which is kept until you rotate it away"
    )
    if path.exists():
        found = path.stat()
        message = f"it holds {shown_size(found.st_size)}"
        fix = "rotate it by moving it away (logrotate does); the next line begins a new one"
        yield warned_if(found.st_size > LARGE_BYTES, "audit", message, fix)
        if found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
            yield Finding(
                "audit", "warn", "everybody on this machine may read or write it", f"chmod 640 {path}"
            )


def _problem(path: Path) -> str | None:
    """Why no line can be appended."""
    if path.is_dir():
        return "it is a directory"
    if not path.parent.is_dir():
        return f"there is no directory {path.parent}"
    if path.exists() and not path.is_file():
        return "it is no file"
    is_writable = os.access(path if path.exists() else path.parent, os.W_OK)
    return None if is_writable else "this user may not"
