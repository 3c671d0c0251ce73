"""`make fleet`: a fleet on this machine, for people to play with."""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.support.fleet import BALANCED, Fleet, running_fleet


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="./dev fleet", description=__doc__)
    parser.add_argument("--gateways", type=int, default=2, choices=range(2, BALANCED + 1))
    parser.add_argument("--workers", type=int, default=1, choices=range(1, 9))
    parser.add_argument("--port", type=int, default=8080, help="the load balancer's")
    return parser.parse_args()


def told(fleet: Fleet) -> str:
    """Where everything is."""
    rows = [
        ("load balancer", f"{fleet.url}   clients, and your browser, come here", ""),
        *((one.name, f"{one.url}   process {one.process.pid}", str(one.log)) for one in fleet.instances),
        ("Redis", fleet.redis.url, ""),
        ("PostgreSQL", fleet.postgres.dsn(), ""),
    ]
    lines = [f"  {name:<14} {where:<60} {log}".rstrip() for name, where, log in rows]
    return "\n".join(["fleet ready", *lines, "Ctrl-C ends all of it; its data goes with it.", ""])


async def main(asked: argparse.Namespace) -> None:
    """Run until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="gateway-fleet-") as folder:
        fleet = running_fleet(Path(folder), gateways=asked.gateways, workers=asked.workers, port=asked.port)
        async with fleet as running:
            sys.stdout.write(told(running))
            sys.stdout.flush()
            await stop.wait()
            sys.stdout.write("ending the fleet\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(options()))
