"""The build's one step of its own: `gateway/fanout/sockets.c`, compiled where there is a C compiler.

Without one nothing is missing but speed, for `gateway/fanout/sending.py` does the same. What was compiled before stays.
"""

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MADE = "gateway/fanout/_sockets.so"


def compile_c(source: Path, made: Path) -> None:
    """Make the library `made`. Raises `OSError` or `CalledProcessError`."""
    new = made.with_suffix(f".{os.getpid()}")  # what a running gateway has open is not written to
    options = ["-O2", "-Wall", "-Wextra", "-shared", "-fPIC"]
    command = [os.environ.get("CC", "cc"), *options, "-o", new, source]
    subprocess.run(command, check=True)  # noqa: S603 - whoever builds says which compiler
    new.replace(made)


class Compiled(BuildHookInterface):
    """What hatchling calls before it makes a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """See hatchling, which gives both by their places."""
        made = Path(self.root, MADE)
        try:
            compile_c(Path(self.root, "gateway/fanout/sockets.c"), made)
        except (OSError, subprocess.CalledProcessError) as problem:
            self.app.display_warning(f"no faster sending to many: {problem}")
        if made.exists():
            build_data["artifacts"].append(MADE)
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"
