"""The agent's first word, said before the rest of it is loaded: meanwhile the host goes on.

What that sends waits in the agent's socket, until the agent has taken on its limits.
"""

from __future__ import annotations

import posix
import sys

from sandbox_bridge.local.agent.frames import READY, pack


def main(report: int) -> None:
    """Say it."""
    posix.write(report, pack(READY))


if __name__ == "__main__":
    main(int(sys.argv[3]))
