"""The supervisor of several processes, each of which does as little as can be."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.server.data_dir import StartError
from gateway.server.supervisor import reserved
from gateway.settings import Settings

PROGRAM = """
import os, select, signal, sys
import structlog
from gateway.server import supervisor

kind = sys.argv[1]
supervisor.BACK_OFF_S = (0.01,)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def serve(place):
    if kind == "fails":
        say("failed", place.number)
        return 3
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGTERM, lambda *_: None)
    say("started", place.number, os.getpid())
    place.say_ready("http://here")
    ready, _, _ = select.select([woken, place.life_fd], [], [])
    say("told" if woken in ready else "orphaned", place.number)
    return 0

def ready(url):
    say("ready", url)

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
sys.exit(supervisor.Supervisor(serve, 2, on_ready=ready, log=structlog.get_logger()).run())
"""


class Story:
    """A supervisor in a process of its own, and what is told of it."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.pid = self._process.pid

    def next(self, *starts: str) -> list[str]:
        """As many lines as there are `starts`, which they begin with in some order; as words."""
        assert self._process.stdout is not None
        lines = [self._process.stdout.readline() for _ in starts]
        assert sorted(line.split()[0] for line in lines) == sorted(starts)
        return [line.strip() for line in lines]

    def code(self) -> int:
        """How it ended."""
        assert self._process.stdout is not None
        assert self._process.stdout.read() == ""
        return self._process.wait(30)

    def end(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def story(request: pytest.FixtureRequest) -> Iterator[Story]:
    """One of two good processes, or of two that fail."""
    told = Story(request.param)
    yield told
    told.end()


@pytest.mark.parametrize("story", ["fails"], indirect=True)
def test_what_the_first_lacks_is_said_once(story: Story) -> None:
    """It can't start: the others don't try, and the supervisor ends."""
    assert story.next("failed") == ["failed 0"]
    assert story.code() == 1


@pytest.mark.parametrize("story", ["lives"], indirect=True)
def test_ready_is_said_once_and_the_dead_are_started_again(story: Story) -> None:
    """The second begins when the first is ready; who is killed has a successor; a signal ends all of them well."""
    assert story.next("started")[0].startswith("started 0")
    second, _ = sorted(story.next("started", "ready"), reverse=True)
    os.kill(int(second.split()[2]), signal.SIGKILL)
    assert story.next("started")[0].startswith("started 1")
    os.kill(story.pid, signal.SIGTERM)
    assert sorted(story.next("told", "told")) == ["told 0", "told 1"]
    assert story.code() == 0


@pytest.mark.parametrize("story", ["lives"], indirect=True)
def test_processes_without_their_supervisor_end(story: Story) -> None:
    """Nobody would stop them, or start them again."""
    story.next("started")
    story.next("started", "ready")
    os.kill(story.pid, signal.SIGKILL)
    assert sorted(story.next("orphaned", "orphaned")) == ["orphaned 0", "orphaned 1"]


def test_port_that_somebody_has_is_not_shared_with_them() -> None:
    """Also where they would share it: half of the clients would go to a stranger."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(StartError, match="choose another"), reserved("127.0.0.1", other.getsockname()[1]):
            pass


def test_each_process_tells_the_others_where_it_is_itself() -> None:
    """Behind the shared port, by its place; where any port will do, at any."""
    redis: dict[str, Any] = {"event_bus_backend": "redis", "processes": 3, "_env_file": None}
    any_port, fixed = Settings(port=0, **redis), Settings(port=8080, **redis)
    told = Settings(port=0, advertise_url="http://10.0.0.5:8080", **redis)
    assert any_port.own_port(2, 40000) == 0
    assert fixed.own_port(2, 8080) == 8083
    assert fixed.of_process(2, 8080).advertise_url is None
    assert told.of_process(2, 40000).advertise_url == "http://10.0.0.5:40003"


@pytest.mark.parametrize(
    "more", [{}, {"event_bus_backend": "redis", "state_persistence_backend": "surrealdb"}]
)
def test_processes_need_redis_and_a_store_to_share(more: dict[str, Any]) -> None:
    """One clear line says what is missing, before anything is started."""
    with pytest.raises(ValidationError, match="set EVENT_BUS_BACKEND=redis"):
        Settings(processes=2, _env_file=None, **more)
