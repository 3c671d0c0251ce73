"""A gateway and a sandbox service that meet by addresses which are not loopback: run by `test_other_machine`.

Alone in a network namespace, whose loopback interface has these addresses. Prints what came of it as JSON.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import ClientSession

from tests.support.gateway import client, running_gateway
from tests.support.sandbox_process import sandbox_service

SERVICE, STRANGER = "192.0.2.1", "192.0.2.2"
TOKEN = "0123456789abcdef"  # noqa: S105 - it guards nothing


async def main() -> None:
    """A site of the service, through the gateway, and knocked at by a stranger."""
    with sandbox_service(host=SERVICE, token=TOKEN) as url, tempfile.TemporaryDirectory() as folder:
        assert urlsplit(url).hostname == SERVICE
        env = {"WEBSOCKET_URL": url, "SANDBOX_TOKEN": TOKEN, "GATEWAY_PREVIEW_HOST": "preview.test"}
        async with running_gateway(Path(folder) / "data", "--no-local-sandbox", env=env) as gateway:
            async with client(gateway.socket_url) as me:
                task_id = await me.submit(input={"files": {"index.html": "here"}, "commands": ["serve"]})
                shown = (await me.until_ended(task_id))[-1]["data"]["result"]["url"]
            host = {"Host": str(urlsplit(shown).hostname)}
            async with ClientSession(gateway.url) as http, http.get("/", headers=host) as answer:
                found = {"status": answer.status, "text": await answer.text()}
            doors = [door for door in listening(SERVICE) if door != urlsplit(url).port]
            found["to_stranger"] = [await said_to(STRANGER, door) for door in doors]
            found["to_machine"] = [await said_to(SERVICE, door) for door in doors]
    print(json.dumps(found))  # noqa: T201 - for the test


def listening(address: str) -> list[int]:
    """The ports on which somebody listens at `address`."""
    packed = bytes(reversed(bytes(map(int, address.split("."))))).hex().upper()
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        int(line[1].partition(":")[2], 16) for line in lines if line[1].startswith(packed) and line[3] == "0A"
    ]


async def said_to(address: str, port: int) -> str:
    """What a door says to who comes from `address`."""
    reader, writer = await asyncio.open_connection(SERVICE, port, local_addr=(address, 0))
    try:
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(10):
            return (await reader.read()).decode().rpartition("\n")[2]
    except ConnectionError:
        return ""
    finally:
        writer.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        asyncio.run(main())
    else:
        addresses = " && ".join(f"ip addr add {address}/32 dev lo" for address in (SERVICE, STRANGER))
        inside = f'ip link set lo up && {addresses} && exec "$0" -m tests.journeys.other_machine inside'
        os.execvp("unshare", ["unshare", "--net", "sh", "-c", inside, sys.executable])  # noqa: S606
