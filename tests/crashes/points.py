"""All crash points, and the document that lists them."""

import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from tests.crashes import keeping, process, remembering, running, steering, submitting, surviving
from tests.crashes.stage import OUTSIDE, POINTS, CrashPoint

PARTS: Final[Sequence[ModuleType]] = (submitting, running, steering, remembering, surviving, keeping, process)
QUICK: Final = [name for name, point in POINTS.items() if point.quick]
LONG: Final = [name for name, point in POINTS.items() if not point.quick]


def document() -> str:
    """`docs/crash-points.md`, without its head."""
    return ABOUT + "".join(map(_part, PARTS))


def _part(part: ModuleType) -> str:
    points = [point for point in POINTS.values() if point.act.__module__ == part.__name__]
    rows = "\n".join(map(_row, points))
    return f"\n## {inspect.getdoc(part)}\n\n{_HEAD}{rows}\n"


ABOUT: Final = """# Where a gateway may be killed

`kill -9` at every step between a submit and the last event of its task, and what comes of it. Each row has a test
that kills a real gateway exactly there, starts another one on its data, and holds what the row says, and besides,
each time: no process of the dead one is left; what a client was shown before is, byte for byte, the beginning of what
it is shown after; a submit repeated with its key is one task; its log is whole and has one end. The code knows nothing
of this: `tests/crashes/launch.py` starts the gateway with the named function armed. `make test` plays the rows marked
quick, `make chaos` the others, and kills at random moments as well (`tests/chaos/test_gateway_killed.py`).

"Committed" means synced (SQLite, WAL, `synchronous=FULL`), so the rows hold for a machine's crash as far as its
disk keeps what it has synced. Unless a part says otherwise the sandbox is the embedded one, which dies with its
gateway; how another is gone on with, tells
[decision 13](decisions/0013-a-takeover-goes-on-with-a-session-from-what-is-in-the-log.md).
"""
_HEAD: Final = """| killed when | where | on disk | the client sees | after the restart | test |
|---|---|---|---|---|---|
"""


def _row(point: CrashPoint) -> str:
    where = "from outside: the state lasts" if point.at == OUTSIDE else _where(point)
    after = " ".join((point.act.__doc__ or "").split())
    test = f"`{point.act.__module__.removeprefix('tests.')}.{point.act.__name__}`{' (quick)' * point.quick}"
    return f"| {point.name} | {where} | {point.on_disk} | {point.client} | {after} | {test} |"


def _where(point: CrashPoint) -> str:
    when, _, where = point.at.partition(" ")
    counted = f", call {point.nth}" * (point.nth > 1)
    only = f", where it {point.only}" * (point.only != "always")
    return f"{when} `{where}`{counted}{only}"
