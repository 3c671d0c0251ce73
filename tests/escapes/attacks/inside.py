"""What runs first in the jail: it proves that it is inside, then makes one attack and prints what came of it.

The proof is harmless: a process and a file of the host, as open as they can be, must not be there. Where
they are, nothing is attempted.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

REPORT = "report: "


def is_inside(marker: str, file: str) -> bool:
    """Whether nothing of the host is to be seen."""
    processes = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    seen = any(marker.encode() in command_line(pid) for pid in processes)
    return not seen and len(processes) < 50 and not os.path.lexists(file) and os.getuid() != 0


def command_line(pid: str) -> bytes:
    """A process's command line; empty when it is gone."""
    try:
        return Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return b""


def main() -> None:
    """Read the order, prove, attack, report."""
    order = json.loads(Path("order.json").read_text(encoding="utf-8"))
    if not is_inside(order["marker"], order["file"]):
        sys.exit("this is not a jail: nothing was tried")
    sys.path.insert(0, str(Path.cwd()))
    attack = getattr(importlib.import_module(order["module"]), order["attack"])
    sys.stdout.write(f"{REPORT}{json.dumps(attack(*order['arguments']))}\n")


if __name__ == "__main__":
    main()
