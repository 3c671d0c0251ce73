"""The process that takes our jails along when we die.

`--die-with-parent` kills a jail whose service dies, but not one that is only being made: bubblewrap's child
then waits for ever for a parent that is gone. So every bubblewrap joins the process group of a small shell
that waits for the end of our pipe and then kills its group, whoever killed us and however.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_SCRIPT = "read -r line; kill -9 0"


@contextmanager
def watchdog() -> Iterator[int]:
    """A process group all of which dies with this process, or when the block is left. Raises OSError."""
    with subprocess.Popen(  # noqa: S603 - our own words
        ["/bin/sh", "-c", _SCRIPT],
        env={},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    ) as process:
        yield process.pid
