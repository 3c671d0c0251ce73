"""The command line as a user meets it: real processes against a real gateway."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from io import RawIOBase
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.postgres import free_port

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 30.0
NO_ENV: Mapping[str, str] = {}


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway with its embedded defaults."""
    async with running_gateway(tmp_path_factory.mktemp("cli") / "data") as gateway:
        yield gateway


@asynccontextmanager
async def started(
    url: str,
    *arguments: str,
    stdin: int = DEVNULL,
    stdout: int = PIPE,
    stderr: int = PIPE,
    env: Mapping[str, str] = NO_ENV,
) -> AsyncIterator[Process]:
    """A `gateway` command under way; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=os.environ | {"GATEWAY_URL": url} | dict(env),
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: Process) -> Outcome:
    """The rest of a command's output, and its exit code."""
    out, err = await process.communicate()
    return Outcome(process.returncode or 0, (out or b"").decode(), (err or b"").decode())


async def run(url: str, *arguments: str, stdout: int = PIPE, **env: str) -> Outcome:
    """A `gateway` command from start to end."""
    async with started(url, *arguments, stdout=stdout, env=env) as process:
        return await ended(process)


async def next_line(stream: asyncio.StreamReader | None) -> str:
    """The next line of a command that is under way."""
    assert stream is not None
    return (await stream.readline()).decode()


async def test_project_is_run_where_it_can_be_tested(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A Python package's own tests run in the sandbox, on the very bytes of the files."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("def add(a, b): return a + b\n")
    (tmp_path / "data.bin").write_bytes(b"\x00\xff")
    (tmp_path / "test_pkg.py").write_text(
        "import pathlib, unittest, pkg\n"
        "class T(unittest.TestCase):\n"
        "    def test_add(self): self.assertEqual(pkg.add(1, 2), 3)\n"
        "    def test_data(self): self.assertEqual(pathlib.Path('data.bin').read_bytes(), bytes([0, 255]))\n"
    )
    done = await run(gateway.url, "submit", str(tmp_path), "--command", "python3 -m unittest")
    assert done.code == 0
    assert done.out == ""
    assert "Ran 2 tests" in done.err


async def test_output_and_exit_code_are_the_tasks_own(gateway: GatewayProcess) -> None:
    """Each stream comes out where it belongs, and the exit code is the failed command's."""
    done = await run(
        gateway.url, "submit", "-c", "echo out; echo err >&2", "-c", "exit 7", "-c", "echo never"
    )
    assert (done.code, done.out) == (7, "out\n")
    assert done.err.startswith("err\n")
    assert "exit code 7" in done.err.splitlines()[1]


async def test_output_is_shown_as_it_comes(gateway: GatewayProcess) -> None:
    """A line is on the screen while the command that printed it still runs."""
    async with started(gateway.url, "submit", "-c", "echo first; sleep 60") as process:
        assert await next_line(process.stdout) == "first\n"
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        await ended(process)


async def test_leaving_tells_how_to_come_back(gateway: GatewayProcess) -> None:
    """After Ctrl-C the task goes on; what is printed then shows the rest, and ends it."""
    async with started(gateway.url, "submit", "-c", "echo one; sleep 60; echo two") as process:
        await next_line(process.stdout)
        process.send_signal(signal.SIGINT)
        left = await ended(process)
    assert left.code == 130
    rest, end = (line.split("gateway ", 1)[1].split() for line in left.err.splitlines())
    async with started(gateway.url, *rest) as watching:
        assert (await run(gateway.url, *end)).code == 0
        seen = await ended(watching)
    assert (seen.code, seen.out) == (130, "")
    assert "was cancelled" in seen.err


@pytest.mark.parametrize(("answer", "told"), [("y", "cancelled"), ("", "to end it")])
async def test_leaving_a_terminal_asks_once(gateway: GatewayProcess, answer: str, told: str) -> None:
    """Ctrl-C on a terminal asks whether to cancel; only a yes does."""
    with a_terminal() as (screen, terminal):
        submitting = ("submit", "-c", "echo one; sleep 60")
        async with started(gateway.url, *submitting, stdin=terminal, stderr=terminal) as process:
            os.close(terminal)
            await next_line(process.stdout)
            process.send_signal(signal.SIGINT)
            await asyncio.to_thread(read_until, screen, "[y/N]")
            screen.write(f"{answer}\n".encode())
            left = await ended(process)
            said = left.out + (await asyncio.to_thread(read_until, screen, told) if not answer else "")
    assert left.code == 130
    assert told in said


@contextmanager
def a_terminal() -> Iterator[tuple[RawIOBase, int]]:
    """What a person has of a terminal, and what a process has of it, which who hands it over closes."""
    person, terminal = os.openpty()
    with os.fdopen(person, "r+b", buffering=0) as screen:
        yield screen, terminal


def read_until(screen: RawIOBase, text: str) -> str:
    """What comes on a screen, until `text` is there."""
    seen = b""
    while text.encode() not in seen:
        seen += screen.read(4096) or b""
    return seen.decode()


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
async def test_terminal_that_cannot_draw_is_sent_lines_alone(
    gateway: GatewayProcess, env: Mapping[str, str]
) -> None:
    """Escape sequences, and signs that it lacks, would pile up there."""
    with a_terminal() as (screen, terminal):
        async with started(gateway.url, "submit", "-c", "exit 3", stderr=terminal, env=env) as process:
            os.close(terminal)
            await ended(process)
            assert read_until(screen, "\n").startswith("gateway: task ")


async def test_task_is_paused_and_resumed(gateway: GatewayProcess) -> None:
    """Each command says what is so or will be; who watches is told of it."""
    async with started(gateway.url, "submit", "--stdin", "-c", "echo one; read line; echo two") as process:
        await next_line(process.stdout)
        task_id = (await run(gateway.url, "tasks", "--status", "running")).out.splitlines()[1].split()[0]
        assert task_id in await next_line(process.stderr)
        paused = await run(gateway.url, "pause", task_id, "--reason", "lunch")
        assert (paused.code, paused.out.startswith(f"{task_id} ")) == (0, True)
        assert await next_line(process.stderr) == "gateway: paused by anonymous: lunch\n"
        assert (await run(gateway.url, "pause", task_id)).out == f"{task_id} paused\n"
        resumed = await run(gateway.url, "resume", task_id, "--json")
        assert json.loads(resumed.out)["desire"] == "run"
        assert (await run(gateway.url, "input", task_id, "go on")).code == 0
        done = await ended(process)
    assert (done.code, done.out) == (0, "two\n")
    assert "it goes on" in done.err
    late = await run(gateway.url, "pause", task_id)
    assert (late.code, late.err) == (1, "gateway: The task is already completed. (invalid_state)\n")


async def test_input_is_a_line_a_pipe_or_the_end(gateway: GatewayProcess) -> None:
    """What is sent is what the commands read, whichever way it came."""
    submitting = ("submit", "--stdin", "-d", "-c", "cat", "-c", "cat")
    task_id = (await run(gateway.url, *submitting)).out.strip()
    assert (await run(gateway.url, "input", task_id, "one")).code == 0
    assert (await run(gateway.url, "input", task_id, "two", "--eof")).code == 0
    piped = "é" * 50_000 + "\n"
    async with started(gateway.url, "input", task_id, stdin=PIPE) as process:
        await process.communicate(piped.encode())
        assert process.returncode == 0
    watched = await run(gateway.url, "watch", task_id)
    assert (watched.code, watched.out) == (0, f"one\ntwo\n{piped}")
    assert (await run(gateway.url, "input", task_id, "--eof")).code == 1


async def test_who_follows_a_task_that_takes_input_is_told_how_to_send_it(gateway: GatewayProcess) -> None:
    """Its id is shown nowhere else, and without input it would go on for ever, saying nothing."""
    async with started(gateway.url, "submit", "--stdin", "-c", "cat") as process:
        told = await next_line(process.stderr)
        task_id = told.split("gateway input ")[1].split()[0]
        assert (await run(gateway.url, "input", task_id, "one", "--eof")).code == 0
        done = await ended(process)
    assert (done.code, done.out) == (0, "one\n")


async def test_detached_task_is_found_again(gateway: GatewayProcess) -> None:
    """--detach prints the id alone; tasks lists it, and watch shows it from the beginning."""
    submitted = await run(gateway.url, "submit", "--detach", "--label", "k=v", "-c", "echo hello")
    task_id = submitted.out.strip()
    watched = await run(gateway.url, "watch", task_id)
    assert (watched.code, watched.out) == (0, "hello\n")
    listed = await run(gateway.url, "tasks", "--label", "k=v", "--status", "completed")
    assert listed.out.splitlines()[1].split()[:2] == [task_id, "completed"]


async def test_key_finds_its_task_again(gateway: GatewayProcess) -> None:
    """Whatever a script does twice is done once, and shown twice; another order under the same key is told so."""
    told = [
        "submit",
        "-c",
        "echo once",
        "--key",
        "release-1",
        "--priority",
        "3",
        "--max-attempts",
        "1",
        "--json",
    ]
    first, again = [await run(gateway.url, *told) for _ in range(2)]
    assert (again.code, again.out) == (first.code, first.out)
    task_id = json.loads(first.out.splitlines()[0])["task_id"]
    listed = [json.loads(line) for line in (await run(gateway.url, "tasks", "--json")).out.splitlines()]
    task = next(task for task in listed if task["task_id"] == task_id)
    assert (task["priority"], task["max_attempts"], task["attempt"]) == (3, 1, 1)
    other = await run(gateway.url, "submit", "-c", "echo twice", "--key", "release-1")
    assert other.code == 1
    assert "idempotency_conflict" in other.err


async def test_task_joins_a_workflow(gateway: GatewayProcess) -> None:
    """A second task of a workflow that the first one has begun."""
    first = json.loads((await run(gateway.url, "submit", "-d", "-c", "true", "--json")).out)
    second = await run(
        gateway.url, "submit", "-d", "-c", "true", "--workflow", first["workflow_id"], "--json"
    )
    assert json.loads(second.out)["workflow_id"] == first["workflow_id"]


async def test_json_lines_are_the_wires(gateway: GatewayProcess) -> None:
    """With --json, submit and watch print the same events, tasks and --detach the Task."""
    submitted = await run(gateway.url, "submit", "--json", "-c", "echo hello")
    events = [json.loads(line) for line in submitted.out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    watched = await run(gateway.url, "watch", "--json", "--after", "2", events[0]["task_id"])
    assert [json.loads(line) for line in watched.out.splitlines()] == events[2:]
    listed = await run(gateway.url, "tasks", "--json", "--limit", "1")
    assert json.loads(listed.out)["task_id"] == events[0]["task_id"]


async def test_large_project_goes_another_way(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Files that no frame can carry arrive all the same."""
    (tmp_path / "big").write_bytes(b"x" * (3 << 20))
    done = await run(gateway.url, "submit", str(tmp_path), "-c", "wc -c < big")
    assert (done.code, done.out.strip()) == (0, str(3 << 20))


async def test_reader_that_had_enough_ends_the_command(gateway: GatewayProcess) -> None:
    """When the reader of the output goes, the command goes, too, and says that the task did not."""
    async with started(gateway.url, "submit", "--timeout", "20", "-c", "yes") as process:
        await next_line(process.stdout)
        transport = process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.close()
        assert process.stderr is not None
        said = (await process.stderr.read()).decode()
        assert await process.wait() == 141
    assert "the task goes on" in said


async def test_what_an_encoding_lacks_is_shown_as_an_escape(gateway: GatewayProcess) -> None:
    """Output of a task that the terminal's encoding can't show does not end the command."""
    done = await run(gateway.url, "submit", "-c", "echo é", PYTHONIOENCODING="ascii")
    assert (done.code, done.out) == (0, "\\xe9\n")


async def test_output_that_cannot_be_written_is_told_in_one_line(gateway: GatewayProcess) -> None:
    """A full disk behind `>` is an error of its own, and no traceback."""
    full = os.open("/dev/full", os.O_WRONLY)
    done = await run(gateway.url, "tasks", stdout=full)
    os.close(full)
    assert (done.code, done.err) == (1, "gateway: the output can't be written: No space left on device\n")


async def test_version_is_the_packages(unused_tcp_port: int) -> None:
    """It is told without a gateway."""
    done = await run(f"http://127.0.0.1:{unused_tcp_port}", "--version")
    assert (done.code, done.out.strip()) == (0, version("sentient-gateway"))


async def test_argument_that_is_no_utf8_is_refused_at_once(gateway: GatewayProcess) -> None:
    """JSON can't hold it; it was sent, and its refusal never heard."""
    done = await run(gateway.url, "submit", "-c", os.fsdecode(b"echo \xff"))
    assert (done.code, done.err) == (2, "gateway: an argument is not UTF-8, and nothing else can be sent\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["submit", "a page"], 2, "say what to run"),
        (["submit", "--output", "out", "-c", "true"], 2, "--collect GLOB"),
        (["submit", "no-such-file", "-c", "true"], 2, "no-such-file: no such file or directory"),
        (["submit", "--label", "x", "-c", "true"], 2, "KEY=VALUE"),
        (["watch", "no-such-task"], 1, "no such task"),
        (["tasks", "--status", "tired"], 2, "status"),
        (["tasks", "--label", "x"], 2, "KEY=VALUE"),
        (["recover", "no-such-workflow", "--state", "x"], 2, "no JSON object"),
        (["tasks", "--url", "nonsense"], 69, "not an address"),
        (["token", "--sub", "ann", "--secret", "short"], 2, "32 bytes"),
    ],
)
async def test_mistake_gets_a_line_that_helps(
    gateway: GatewayProcess, arguments: list[str], code: int, said: str
) -> None:
    """A mistake ends with its exit code and a line that says what is wrong, never with a traceback."""
    done = await run(gateway.url, *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "Traceback" not in done.err


async def test_no_gateway_is_told(unused_tcp_port: int) -> None:
    """Where nobody answers, the line says so and what to do."""
    done = await run(f"http://127.0.0.1:{unused_tcp_port}", "tasks")
    assert done.code == 69
    assert "gateway serve" in done.err


async def test_token_opens_the_door(tmp_path: Path) -> None:
    """Without a token a gateway that wants one is closed; `gateway token` makes one that opens it."""
    secret = "0123456789abcdef0123456789abcdef"  # noqa: S105
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": secret, "GATEWAY_REQUEST_BURST": "3"}
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        refused = await run(gateway.url, "tasks")
        token = (await run(gateway.url, "token", "--secret", secret, "--sub", "ann")).out.strip()
        let_in = await run(gateway.url, "tasks", "--token", token)
        await input_waits_for_its_pace(gateway.url, token)
    assert refused.code == 77
    assert "--token" in refused.err
    assert (let_in.code, let_in.err) == (0, "gateway: no tasks\n")


async def input_waits_for_its_pace(url: str, token: str) -> None:
    """A pipe of more pieces than a session may send in one go is sent whole."""
    submitting = ("submit", "--stdin", "-d", "-c", "cat", "--token", token)
    task_id = (await run(url, *submitting)).out.strip()
    async with started(url, "input", task_id, "--token", token, stdin=PIPE) as process:
        _, err = await process.communicate(b"x" * (40 << 10))
    assert (process.returncode, err) == (0, b"")


async def test_lost_connection_is_told_and_the_command_goes_on(tmp_path: Path) -> None:
    """Who watches is told that the connection is lost and the task is not, and sees it to its end."""
    data, port = tmp_path / "data", str(free_port())
    command = "echo one; sleep 2; echo two"
    async with (
        running_gateway(data, "--port", port) as first,
        started(first.url, "submit", "--command", command) as process,
    ):
        assert await next_line(process.stdout) == "one\n"
        await first.kill()
        async with running_gateway(data, "--port", port):
            outcome = await ended(process)
    assert outcome.code == 0
    assert outcome.out.endswith("two\n")
    assert outcome.err.count("the connection is lost, the task is not: reconnecting") == 1
