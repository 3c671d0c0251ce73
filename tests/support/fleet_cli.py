"""`make fleet`: a fleet on this machine, for people to play with.

An instance that ends, killed or drained, is started again at its address, as a supervisor does.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.support.fleet import BALANCED, Fleet, Instance, running_fleet
from tests.support.waiting import let_pass

AGAIN_S = 3.0
"""How long an instance that has ended stays away."""


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
    hint = "kill -9, -TERM (drain) or -STOP a process, and watch: one that ends is started again."
    return "\n".join(["fleet ready", *lines, hint, "Ctrl-C ends all of it; its data goes with it."])


def say(words: str) -> None:
    """A line for whoever plays."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


async def keep_up(instance: Instance) -> None:
    """Start it again whenever it ends, until cancelled."""
    while True:
        code = await instance.process.process.wait()
        how = "drained" if code == 0 else f"killed by signal {-code}" if code < 0 else f"ended with {code}"
        say(f"{instance.name}: {how}; started again in {AGAIN_S:g} s")
        await let_pass(AGAIN_S)
        await instance.aclose()
        try:
            await instance.start()
        except (AssertionError, TimeoutError) as error:
            say(f"{instance.name}: {error}")
        else:
            say(f"{instance.name}: ready again, process {instance.process.pid}")


async def main(asked: argparse.Namespace) -> None:
    """Run until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="gateway-fleet-") as folder:
        fleet = running_fleet(Path(folder), gateways=asked.gateways, workers=asked.workers, port=asked.port)
        async with fleet as running, asyncio.TaskGroup() as group:
            say(told(running))
            keeping = [group.create_task(keep_up(instance)) for instance in running.instances]
            await stop.wait()
            say("ending the fleet")
            for task in keeping:
                task.cancel()


if __name__ == "__main__":
    asyncio.run(main(options()))
