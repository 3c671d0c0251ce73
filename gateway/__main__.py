"""The command `gateway`, also as `python -m gateway`."""

import logging
import os
import sys

from gateway.server.cli.app import app


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="gateway")
    except SystemExit as end:
        if "surrealdb" in sys.modules:
            _leave(end.code)
        raise


def _leave(code: str | int | None) -> None:
    """End without taking Python down: a thread of SurrealDB's engine that calls it just then aborts the process."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
