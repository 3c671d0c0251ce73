"""The command `serve`: puts the folder it is started in up as a web site on a port of the jail.

It ends well as soon as the site listens; the site stays, as a process of its own, until its jail ends.
The host sends this file in as text; whatever it does, it does inside.
"""

# The system's Python may be 3.9, and nothing here needs more than it.
# ruff: noqa: PTH109, T201

from __future__ import annotations

import os
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

_TEXT_WITHOUT_TEXT = ("application/json", "application/javascript", "image/svg+xml")


class Handler(SimpleHTTPRequestHandler):
    """Files as they are now, and nothing said about it."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """The type by the name; text is UTF-8, as it is in the task."""
        kind = super().guess_type(path)
        is_text = kind.startswith("text/") or kind in _TEXT_WITHOUT_TEXT
        return f"{kind}; charset=utf-8" if is_text else kind

    def end_headers(self) -> None:
        """A page that was written anew is fetched anew."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nobody reads it."""


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    request_queue_size = 64


def main(port: int) -> None:
    """Listen, say so, and go on in the background."""
    try:
        server = Server(("127.0.0.1", port), Handler)
        child = os.fork()
    except OSError as error:
        sys.exit(f"the site could not be put up: {error}")
    if child:
        print(f"{os.getcwd()} is a web site on port {port}")
        return
    os.setsid()
    quiet = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(quiet, fd)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
