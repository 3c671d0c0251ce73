"""The servers that are measured: ours, its peers, and the floor; each a process or two on a core of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.postgres import free_port

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / ".tools" / "fanout"
"""What is compiled."""
SAID: Final = TOOLS / "said.txt"
"""What servers say on their standard error."""
PEERS: Final = Path(__file__).parent / "peers"
SERVER_CORE, LOAD_CORE = 0, 1
READY_S: Final = 30
REALTIME: Final = "BENCH_REALTIME"
"""Environment: the real-time priority at which servers and load run, for a machine that does other things too."""


def on_core(core: int, words: Sequence[str]) -> list[str]:
    """The command, on that core alone."""
    priority = os.environ.get(REALTIME)
    first = ["chrt", "-r", priority] if priority else []
    return [*first, "taskset", "-c", str(core), *words]


Steps = tuple[tuple[str, str], ...]
"""What a client hears, and what it says to that; %s is a task."""


@dataclass(frozen=True, slots=True)
class Speech:
    """How a server is spoken with."""

    path: str
    ask: str
    """What is answered by a text, at once."""
    hello: Steps
    watch: Steps
    """What goes on from the last of `hello`, to watch a task."""
    headers: tuple[str, ...] = ()

    def on(self, *, watches: bool) -> Steps:
        """Up to where a client is let in, or watches."""
        if not watches:
            return self.hello
        if not self.hello:
            return ()
        (prefix, _), *more = self.watch
        return (*self.hello[:-1], (self.hello[-1][0], prefix), *more)


JSON: Final = Speech(
    path="/ws",
    headers=("Sec-WebSocket-Protocol: gateway.v1",),
    ask='{"type":"ping","id":"1"}',
    hello=(('{"type":"welcome"', ""),),
    watch=(('{"type":"subscribe","id":"1","task_id":"%s"}', ""), ('{"type":"result"', "")),
)
"""The gateway's own protocol, which the plain peers speak as far as they need."""
SOCKET_IO: Final = Speech(
    path="/socket.io/?EIO=4&transport=websocket",
    ask='421["ask"]',
    hello=(("0", "40"), ('42["welcome"', "")),
    watch=(('421["subscribe","%s"]', ""), ("431", "")),
)
NCHAN: Final = Speech(path="/ws/%s", ask="", hello=(), watch=())
"""Where to says what is watched."""


@dataclass(slots=True)
class Server:
    """One that runs."""

    port: int
    source: int
    """Where the datagrams go that have events made."""
    pids: list[int]
    speech: Speech
    tasks: Callable[[], Sequence[str]] = field(default=lambda: ())
    """What stands for a task in `Speech.watch`, for each; of ours it says where its log ends."""


Start = Callable[[int], contextlib.AbstractContextManager[Server]]
"""From how many tasks there are to be."""


@contextmanager
def process(words: Sequence[str], env: dict[str, str] | None = None) -> Iterator[tuple[int, str]]:
    """A command on the servers' core, once it has said a line: its pid and the line; ended after the block."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (
        SAID.open("a") as errors,
        subprocess.Popen(
            on_core(SERVER_CORE, words),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | (env or {}),
            cwd=ROOT,
        ) as running,
    ):
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            assert line, f"{words[:3]} did not start; see {SAID}"
            yield running.pid, line.strip()
        finally:
            running.kill()


def peer(speech: Speech, *words: str, env: dict[str, str] | None = None) -> Start:
    """A server that is told its port and its source, and calls tasks by their numbers.

    Once it is ready it says so, and which processes it is where it is not its own alone.
    """

    @contextmanager
    def start(tasks: int) -> Iterator[Server]:
        port, source = free_port(), free_port()
        with process([*words, str(port), str(source)], env) as (pid, line):
            others = [int(word) for word in line.split()[1:]]
            yield Server(
                port, source, others or [pid], speech, lambda: [str(number) for number in range(tasks)]
            )

    return start


def node(name: str, speech: Speech) -> Start:
    """One of `peers/*.mjs`, on Node."""
    return peer(speech, "node", str(PEERS / f"{name}.mjs"), env={"NODE_ENV": "production"})


def python(name: str, speech: Speech) -> Start:
    """One of `peers/*.py`, with the packages of `peers.lock`."""
    env = {"PYTHONPATH": str(ROOT / ".tools" / "peers")}
    return peer(speech, sys.executable, str(PEERS / f"{name}_server.py"), env=env)
