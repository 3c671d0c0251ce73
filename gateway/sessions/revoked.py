"""Which tokens are good no more before their time: a file of the operator's, read again when it changes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.principal import Principal

LOOK_S: Final = 1.0
"""How often it is looked whether the file has changed."""


class Revoked:
    """The lines of the file at `path`: `jti ID` ends one token, `sub NAME` all of a subject's, until it is taken out.

    A file that can't be read later goes on as it was: what was revoked stays so.
    """

    def __init__(self, path: Path | None, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now_s = now_s
        self._next_s = 0.0
        self._seen: tuple[int, int, int] | None = None
        self._lines: frozenset[str] = frozenset()

    def has(self, principal: Principal) -> bool:
        """Whether the token of `principal` is among them."""
        if not self.has_any():
            return False
        is_named = principal.token_id is not None and f"jti {principal.token_id}" in self._lines
        is_out = is_named or f"sub {principal.subject}" in self._lines
        return is_out or not self._lines.isdisjoint(principal.ends_with)

    def has_any(self) -> bool:
        """Whether any is."""
        if self._path is not None and self._now_s() >= self._next_s:
            self._next_s = self._now_s() + LOOK_S
            self._look(self._path)
        return bool(self._lines)

    def _look(self, path: Path) -> None:
        try:
            now = path.stat()
            seen = (now.st_mtime_ns, now.st_size, now.st_ino)
            if seen != self._seen:
                self._lines = frozenset(path.read_text().splitlines())
                self._seen = seen
        except (OSError, UnicodeDecodeError):
            return
