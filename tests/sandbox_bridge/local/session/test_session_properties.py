"""Random tasks, paused, cut off and cancelled at random points: each has one end, and what its model says."""

import asyncio
import random
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.sandbox_bridge.local.service import Frame, Peer, Service, is_end, running_service, text_of

TOGETHER = 4
"""Tasks that run at once."""
STOPS = {"cancel_task", "close_session"}


@dataclass(slots=True)
class Model:
    """What a task prints and leaves behind, where nobody stops it."""

    files: dict[str, bytes] = field(default_factory=dict)
    stdout: str = ""
    exit_code: int | None = 0
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A task, what is done to it and when, and what must come of it."""

    task: Frame
    deeds: list[tuple[float, str]]
    model: Model


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service that waits for its bridges."""
    with running_service(SANDBOX_MAX_SESSIONS=str(TOGETHER), SANDBOX_CANCEL_GRACE_S="0.2") as running:
        yield running


def case_of(chance: random.Random, session_id: str) -> Case:
    """A case by chance."""
    model = Model({f"d{number % 3}/f{number}": chance.randbytes(size_of(chance)) for number in range(5)})
    given = {path: {"base64": _base64(data)} for path, data in model.files.items()}
    commands = [command_of(chance, number, model) for number in range(chance.randrange(1, 8))]
    deeds = [(chance.uniform(0, 0.6), deed_of(chance)) for _ in range(chance.randrange(1, 8))]
    task = {"type": "stream_task", "session_id": session_id, "files": given, "commands": commands}
    return Case(task | {"collect": {"globs": ["**"]}}, sorted(deeds), model)


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def size_of(chance: random.Random) -> int:
    """A file's size: nothing, a little, more than a chunk."""
    return chance.choice([0, 1, chance.randrange(1000), chance.randrange(150_000)])


def deed_of(chance: random.Random) -> str:
    """What is done to a task; seldom what ends it."""
    return chance.choice(["cut", "cut", "pause_task", "pause_task", "resume_task", *sorted(STOPS)])


def command_of(chance: random.Random, number: int, model: Model) -> Frame:
    """A command by chance; `model` learns what it does, unless one before it has ended the task."""
    count = chance.randrange(120_000)
    shell, stdout, exit_code = chance.choice(
        [
            (f"sleep 0.2; echo {number}", f"{number}\n", 0),
            (f"sleep 0.1; echo {number}", f"{number}\n", 0),
            (f"yes | head -c {count}", ("y\n" * count)[:count], 0),
            (f"printf {number} > new{number}", "", 0),
            (f"echo {number}; exit 3", f"{number}\n", 3),
            ("kill -9 $$", "", None),
        ]
    )
    goes_on = chance.random() < 0.7
    if not model.has_failed:
        model.stdout += stdout
        model.exit_code = exit_code
        model.has_failed = exit_code != 0 and not goes_on
        if " > new" in shell:
            model.files[f"new{number}"] = str(number).encode()
    return {"sh": shell, "continue_on_error": goes_on}


class Driver:
    """A bridge that does a case's deeds, and keeps what comes."""

    def __init__(self, url: str, case: Case) -> None:
        self._url = url
        self._case = case
        self._session_id = case.task["session_id"]
        self.frames: list[Frame] = []
        self._owed = 0
        self._stored = 1
        self._peer: Peer

    async def run(self) -> list[Frame]:
        """The session's frames, its end among them."""
        try:
            await self._connect([])
            await self._peer.send(self._case.task)
            await self._take()
            began = asyncio.get_running_loop().time()
            for after_s, deed in self._case.deeds:
                await self._take_until(began + after_s)
                await self._do(deed)
            await self._do("resume_task")
            while not is_end(self.frames[-1]):
                await self._take()
            await self._peer.send({"type": "health_check"})
            while (frame := await self._peer.recv())["type"] != "health":
                self._keep(frame)
        finally:
            self._peer.socket.transport.abort()
        return self.frames

    async def _connect(self, orders: list[Frame]) -> None:
        self._peer = Peer(self._url)
        await self._peer.__aenter__()
        await self._peer.send({"type": "hello", "protocol": "sandbox.v1", "sessions": orders})
        assert (await self._peer.recv())["type"] == "hello"

    async def _take_until(self, due: float) -> None:
        try:
            async with asyncio.timeout_at(due):
                while not (self.frames and is_end(self.frames[-1])):
                    await self._take()
        except TimeoutError:
            pass

    async def _take(self) -> None:
        frame = await self._peer.recv()
        self._keep(frame)
        if self._owed:
            await self._say("credit", bytes=self._owed)
        # Granted with the next frame: what a cut takes away was not stored yet.
        self._owed = len(frame.get("base64", "")) + len(frame.get("progress", {}).get("text", ""))

    def _keep(self, frame: Frame) -> None:
        if frame["type"] not in {"task_paused", "task_resumed"}:
            self.frames.append(frame)

    async def _do(self, deed: str) -> None:
        if is_end(self.frames[-1]):
            return
        if deed == "cut":
            self._peer.socket.transport.abort()
            # What it has once said to have stored it can't have lost.
            self._stored = max(self._stored, len(self.frames) - 1)
            del self.frames[self._stored :]
            self._owed = 0
            order = {"session_id": self._session_id, "action": "continue", "after_seq": self._stored}
            await self._connect([order])
        else:
            await self._say(deed)

    async def _say(self, kind: str, **fields: object) -> None:
        await self._peer.send({"type": kind, "session_id": self._session_id, **fields})


def check(case: Case, frames: list[Frame]) -> None:
    """Hold what came against the model."""
    assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))
    assert [is_end(frame) for frame in frames] == [*[False] * (len(frames) - 1), True]
    end, model = frames[-1], case.model
    assert model.stdout.startswith(text_of(frames))
    info = end.get("error_info") or end
    if STOPS & {deed for _, deed in case.deeds} and is_cut_short(info):
        return
    assert text_of(frames) == model.stdout
    assert files_of(frames) == model.files
    assert sorted(file["path"] for file in info["result"]["files"]) == sorted(model.files)
    assert end["type"] == ("task_error" if model.has_failed else "task_completed")
    if model.has_failed:
        assert (info["code"], info["exit_code"]) == ("command_failed", model.exit_code)


def is_cut_short(info: Frame) -> bool:
    """Whether a task was stopped: while it ran, or after it had failed, while its files were read."""
    return info.get("code") == "cancelled" or info["result"].get("files_left_out", 0) is None


def files_of(frames: list[Frame]) -> dict[str, bytes]:
    """The files that came, each put together from its chunks."""
    files: dict[str, bytes] = {}
    for chunk in (frame for frame in frames if frame["type"] == "file_chunk"):
        assert chunk["offset"] == len(files.get(chunk["path"], b""))
        files[chunk["path"]] = files.get(chunk["path"], b"") + b64decode(chunk["base64"])
    return files


@pytest.mark.parametrize("group", range(8))
async def test_every_session_has_one_end_and_loses_nothing(service: Service, group: int) -> None:
    """Whatever happens between them, a bridge and its sandbox agree on each frame, and on the one last."""
    cases = [
        case_of(random.Random(seed), f"s{seed}") for seed in range(group * TOGETHER, (group + 1) * TOGETHER)
    ]
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(Driver(service.url, case).run()) for case in cases]
    for case, driven in zip(cases, running, strict=True):
        check(case, driven.result())
    async with Peer(service.url) as peer:
        await peer.send({"type": "health_check"})
        assert (await peer.recv())["active_sessions"] == 0
