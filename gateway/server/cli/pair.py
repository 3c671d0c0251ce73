"""`gateway pair`: a link that makes a browser's tab a sandbox of yours."""

import json
from urllib.parse import urljoin

from gateway.client.http import Http
from gateway.server.cli.door import Door, door
from gateway.server.cli.tasks import Command

__all__ = ["door"]


def pair(door: Door, *, as_json: bool) -> int:
    """Print the link; the exit code."""
    return _Pair(door, as_json=as_json).run(lambda command: command.pair())


class _Pair(Command):
    async def pair(self) -> int:
        made = await Http(self._door.url, self._door.token).ask("POST", "/v1/pairings")
        link = urljoin(self._door.url, made["path"])
        self._print(json.dumps({**made, "url": link}) if self._as_json else link)
        return 0
