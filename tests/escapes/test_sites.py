"""A site shows what is in its jail, whatever is asked of it and whatever its task has put there."""

from collections.abc import AsyncIterator

import pytest

from tests.escapes.host import Host
from tests.escapes.range import Range, fetch
from tests.support.bare_client import client


@pytest.fixture
async def site(attack: Range, host: Host) -> AsyncIterator[str]:
    """A site among whose files are links to all that its task should not have."""
    links = {"secret": host.bait.file, "folder": host.bait.folder, "init": "/proc/1/environ", "root": "/"}
    lines = " && ".join(f"ln -s {target} {name}" for name, target in links.items())
    async with client(attack.url) as bare:
        await bare.greet()
        await bare.say("execute_task", "site", commands=[lines, "serve"])
        _, end = await bare.session("site")
        assert end["type"] == "task_completed", end
        yield end["result"]["url"]
        await bare.say("close_session", "site")


PATHS = [
    "/secret",
    "/folder/secret",
    "/init",
    "/../../../../../../etc/shadow",
    "/%2e%2e/%2e%2e/%2e%2e/etc/shadow",
    "/..%2f..%2f..%2fetc/shadow",
    "/root/etc/shadow",
    "/root/proc/1/root/root/.ssh/id_ed25519",
    "//etc/shadow",
    "/\\..\\..\\etc\\shadow",
    "http://127.0.0.1:1/",
]


@pytest.mark.parametrize("path", PATHS)
async def test_path_does_not_lead_out_of_the_jail(site: str, host: Host, path: str) -> None:
    """No path and no link shows a file of the host: what answers runs inside."""
    answer = await fetch(site, path)
    head, _, body = answer.partition("\r\n\r\n")
    assert host.bait.marker not in answer
    assert "root:" not in body
    assert head.split()[1] in {"200", "301", "400", "404"}, head
    assert head.split()[1] != "200" or body == ""
