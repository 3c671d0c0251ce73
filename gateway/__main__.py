"""The command `gateway`, also as `python -m gateway`."""

import errno
import io
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

IS_OURS: Final = signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""Whether Ctrl-C is for us at all: a shell's script may have had it ignored."""
if IS_OURS:
    # Until there is something to interrupt it just ends us: a traceback of imports helps nobody.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from gateway.server.cli.app import app  # noqa: E402
from gateway.server.cli.output import discard_output, unwritten  # noqa: E402

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What keeps a disk, or a terminal that is gone, from taking what is written."""


def main() -> None:
    """Run the command line."""
    if IS_OURS:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _open_output()
    try:
        app(prog_name="gateway")
    except SystemExit as end:
        if "surrealdb" in sys.modules:
            _leave(end.code)
        raise
    except OSError as error:
        if error.filename is not None or error.errno not in NO_ROOM:
            raise
        discard_output()
        sys.exit(f"gateway: {unwritten(error)}")


def _open_output() -> None:
    """What a terminal's encoding lacks is shown as an escape, and a stream that was closed for us takes all."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - as long as we live
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave(code: str | int | None) -> None:
    """End without taking Python down: a thread of SurrealDB's engine that calls it just then aborts the process."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
