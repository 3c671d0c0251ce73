"""Has the kernel ready to move a process between control groups by the time that there is one to be moved.

The first move in a while waits until every processor has heard of it, 5 to 12 ms on a quiet machine; those of
the next 10 ms do not wait. So who begins to start a jail has nobody moved: ourselves, to where we are.
"""

from contextlib import suppress
from pathlib import Path

from sandbox_bridge.local.jail.cages.branches import own_groups
from sandbox_bridge.local.jail.cages.means import read, write

_SELF = 0


class Notice:
    """Gives notice of a move, from any thread."""

    def __init__(self) -> None:
        # The one that is being given holds for everybody.
        self._is_being_given = False
        # Where we are, by what the kernel says of it.
        self._groups: dict[str, list[Path]] = {}

    def give(self) -> None:
        """Return when the kernel is ready; where it does not let us, a move just takes its time."""
        if self._is_being_given:
            return
        self._is_being_given = True
        try:
            for group in self._own_groups():
                with suppress(OSError):
                    write(group / "cgroup.procs", _SELF)
                    return
        finally:
            self._is_being_given = False

    def _own_groups(self) -> list[Path]:
        """Looked up each time: somebody may have moved us, and a notice must not move us back."""
        try:
            said = read(Path("/proc/self/cgroup"))
            if said not in self._groups:
                mounts = Path("/proc/self/mountinfo").read_text("utf-8")
                self._groups = {said: [path for _, path in own_groups(said, mounts)]}
        except (OSError, ValueError):
            return []
        return self._groups[said]
