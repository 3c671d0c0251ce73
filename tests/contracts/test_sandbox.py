"""What every sandbox service keeps to, held against the fake and the real one.

The commands are those that the fake's language and a shell have in common.
"""

import asyncio
import base64

import pytest

from sandbox_bridge.protocol import INITIAL_CREDIT_BYTES, MAX_FRAME_BYTES, Command, Limits
from sandbox_bridge.spec import TaskSpec
from tests.support.bare_client import DEADLINE_S, ENDS, client, text_of
from tests.support.bridges import bridge_to, failure_of, is_failure, outputs
from tests.support.sandbox_process import SANDBOX_SESSIONS

# --- the core protocol, from a client that never says hello ---


async def test_service_says_nothing_first(url: str) -> None:
    """A service waits for its peer's first frame."""
    async with client(url) as bare:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await bare.next()


async def test_health_check_is_answered(url: str) -> None:
    """A health check tells the state and how many sessions there are and can be."""
    async with client(url) as bare:
        assert await bare.health() == {
            "type": "health",
            "status": "healthy",
            "active_sessions": 0,
            "max_sessions": SANDBOX_SESSIONS,
        }


async def test_execute_task_ends_with_its_result_alone(url: str) -> None:
    """`execute_task` has no progress, and its result has the contract's shape."""
    async with client(url) as bare:
        files = {"page.html": "<p>é</p>"}
        commands = ["cat page.html", "echo oops >&2"]
        await bare.say("execute_task", "s1", files=files, commands=commands, timestamp=1.5)
        progress, end = await bare.session("s1")
        assert progress == []
        assert end["type"] == "task_completed"
        result = end["result"]
        assert {"status", "exit_code", "url", "commands", "files", "isolation"} <= result.keys()
        assert (result["status"], result["exit_code"], result["url"]) == ("completed", 0, None)
        first, second = result["commands"]
        assert (first["command"], first["exit_code"], first["reason"]) == ("cat page.html", 0, "exit")
        assert (first["stdout"], first["stderr"], first["truncated"]) == ("<p>é</p>", "", False)
        assert (second["stdout"], second["stderr"]) == ("", "oops\n")
        assert isinstance(first["duration_ms"], int)
        assert isinstance(result["isolation"], dict)


async def test_stream_task_streams_in_order_then_ends(url: str) -> None:
    """`stream_task` tells each command's start, output and end, in order, before the one end."""
    async with client(url) as bare:
        await bare.say("stream_task", "s1", commands=["seq 200", "echo done"])
        progress, end = await bare.session("s1")
        assert end["type"] == "task_completed"
        assert text_of(progress) == "".join(f"{number}\n" for number in range(1, 201)) + "done\n"
        steps = [
            (step["kind"], step["index"], step["exit_code"])
            for step in (frame["progress"] for frame in progress)
            if step["kind"] == "command"
        ]
        assert steps == [("command", 0, None), ("command", 0, 0), ("command", 1, None), ("command", 1, 0)]
        await bare.nothing_before_health()


async def test_streams_are_kept_apart(url: str) -> None:
    """Standard output and error are told apart."""
    async with client(url) as bare:
        await bare.say("stream_task", "s1", commands=["echo out", "echo err >&2"])
        progress, _ = await bare.session("s1")
        assert (text_of(progress), text_of(progress, "stderr")) == ("out\n", "err\n")


@pytest.mark.parametrize("kind", ["execute_task", "stream_task"])
async def test_first_command_that_fails_ends_the_task(url: str, kind: str) -> None:
    """A failure is one `task_error` with a text, a code, the exit code, and the commands started."""
    async with client(url) as bare:
        await bare.say(kind, "s1", commands=["true", "exit 3", "echo never"])
        _, end = await bare.session("s1")
        assert end["type"] == "task_error"
        assert isinstance(end["error"], str)
        info = end["error_info"]
        assert (info["code"], info["exit_code"], info["reason"]) == ("command_failed", 3, "exit")
        assert [command["exit_code"] for command in info["result"]["commands"]] == [0, 3]
        await bare.nothing_before_health()


async def test_binary_files_arrive(url: str) -> None:
    """A file can be bytes in base64."""
    async with client(url) as bare:
        data = base64.b64encode(bytes(range(256))).decode()
        await bare.say("execute_task", "s1", files={"a/b.bin": {"base64": data}}, commands=["wc -c a/b.bin"])
        _, end = await bare.session("s1")
        assert end["result"]["commands"][0]["stdout"] == "256 a/b.bin\n"


async def test_task_without_commands_completes(url: str) -> None:
    """Nothing to do is done."""
    async with client(url) as bare:
        await bare.say("stream_task", "s1", commands=[])
        _, end = await bare.session("s1")
        assert end["type"] == "task_completed"


async def test_cancel_ends_the_task_once(url: str) -> None:
    """A cancelled task ends as `cancelled`, once; to cancel it again is ignored."""
    async with client(url) as bare:
        await bare.say("stream_task", "s1", commands=["echo begun", "sleep 1000", "echo never"])
        while (await bare.next())["progress"].get("index") != 1:
            """Until the second command has begun."""
        await bare.say("cancel_task", "s1")
        await bare.say("cancel_task", "s1")
        _, end = await bare.session("s1")
        assert end["type"] == "task_error"
        assert end["error_info"]["code"] == "cancelled"
        assert end["error_info"]["exit_code"] is None
        await bare.say("cancel_task", "s1")
        await bare.nothing_before_health()


async def test_cancel_of_a_session_never_seen_is_unknown(url: str) -> None:
    """Who cancels what was never there is told so."""
    async with client(url) as bare:
        await bare.say("cancel_task", "nobody")
        _, end = await bare.session("nobody")
        assert (end["type"], end["error_info"]["code"]) == ("task_error", "unknown_session")


async def test_session_beyond_the_room_is_busy(url: str) -> None:
    """A service with no room says `busy`, harms nobody, and takes sessions again when there is room."""
    async with client(url) as bare:
        for number in range(SANDBOX_SESSIONS):
            await bare.say("execute_task", f"s{number}", commands=["sleep 1000"])
        await bare.say("execute_task", "late", commands=["echo x"])
        _, end = await bare.session("late")
        assert (end["type"], end["error_info"]["code"]) == ("task_error", "busy")
        await bare.say("cancel_task", "s0")
        await bare.session("s0")
        await bare.say("execute_task", "late", commands=["echo x"])
        _, end = await bare.session("late")
        assert end["type"] == "task_completed"


async def test_sessions_of_one_connection_stay_apart(url: str) -> None:
    """Two sessions at once have files and output of their own, each under its id."""
    async with client(url) as bare:
        for name in ("a", "b"):
            await bare.say("stream_task", name, files={"name": name}, commands=["cat name", "seq 50"])
        texts = {"a": "", "b": ""}
        ended: list[str] = []
        while len(ended) < 2:
            frame = await bare.next()
            if frame["type"] in ENDS:
                ended.append(frame["session_id"])
            else:
                texts[frame["session_id"]] += text_of([frame])
        numbers = "".join(f"{number}\n" for number in range(1, 51))
        assert texts == {"a": "a" + numbers, "b": "b" + numbers}


async def test_session_id_in_use_is_bad_input(url: str) -> None:
    """A second task under an open session's id is refused, and the first goes on."""
    async with client(url) as bare:
        await bare.say("stream_task", "s1", commands=["sleep 0.5", "echo first"])
        await bare.say("stream_task", "s1", commands=["echo second"])
        _, refused = await bare.session("s1")
        assert refused["error_info"]["code"] == "bad_input"
        progress, end = await bare.session("s1")
        assert (text_of(progress), end["type"]) == ("first\n", "task_completed")


@pytest.mark.parametrize("text", ["{", "[]", '{"type":"dance"}', '{"type":"cancel_task"}'])
async def test_bad_frame_is_bad_input_and_harms_nobody(url: str, text: str) -> None:
    """A frame that is none is answered `bad_input`; sessions on the same connection go on."""
    async with client(url) as bare:
        await bare.say("stream_task", "s1", commands=["sleep 0.2", "echo fine"])
        await bare.say_text(text)
        _, refused = await bare.session("")
        assert refused["error_info"]["code"] == "bad_input"
        progress, end = await bare.session("s1")
        assert (text_of(progress), end["type"]) == ("fine\n", "task_completed")


async def test_sessions_of_a_lost_core_connection_end(url: str) -> None:
    """A session whose core connection went gives up its room."""
    async with client(url) as bare:
        await bare.say("execute_task", "s1", commands=["sleep 1000"])
        await bare.health()
    async with client(url) as other, asyncio.timeout(DEADLINE_S):
        while (await other.health())["active_sessions"]:
            """Ended within moments."""


# --- the extensions, after hello ---


async def test_hello_is_answered(url: str) -> None:
    """A service that is greeted says who it is and what it can."""
    async with client(url) as greeting:
        hello = await greeting.greet()
        assert (hello["type"], hello["protocol"]) == ("hello", "sandbox.v1")
        assert hello["max_sessions"] == SANDBOX_SESSIONS
        assert hello["sandbox_id"]
        assert hello["boot_id"]
        assert isinstance(hello["isolation"], dict)
        assert {"limits", "backpressure", "stderr_split"} <= set(hello["capabilities"])
        await greeting.nothing_before_health()


async def test_progress_is_numbered_after_hello(url: str) -> None:
    """Progress frames then carry 1, 2, 3 … for each session."""
    async with client(url) as greeting:
        await greeting.greet()
        for name in ("a", "b"):
            await greeting.say("stream_task", name, commands=["echo one", "echo two"])
            progress, _ = await greeting.session(name)
            assert [frame["seq"] for frame in progress] == list(range(1, len(progress) + 1))


async def test_output_waits_for_credit(url: str) -> None:
    """No more than 256 KiB of output comes that was not granted, and exactly what is granted more."""
    async with client(url) as greeting:
        await greeting.greet()
        await greeting.say("stream_task", "s1", commands=["yes"])
        for room in (INITIAL_CREDIT_BYTES, 100_000):
            taken = len((await greeting.text_until_silence(0.5)).encode())
            # A service may keep back a piece that is larger than what is left.
            assert 0 < taken <= room
            assert taken > room - 65_536
            await greeting.say("credit", "s1", bytes=100_000)
        await greeting.say("cancel_task", "s1")
        _, end = await greeting.session("s1")
        assert end["error_info"]["code"] == "cancelled"


async def test_timeout_is_kept_by_the_service(url: str) -> None:
    """A task whose time is over ends as `timeout`, with an exit code that nobody invented."""
    async with client(url) as greeting:
        await greeting.greet()
        await greeting.say("stream_task", "s1", commands=["sleep 1000"], limits={"timeout_s": 0.3})
        _, end = await greeting.session("s1")
        info = end["error_info"]
        assert (info["code"], info["exit_code"], info["reason"]) == ("timeout", None, "timeout")


async def test_file_chunks_go_before_their_task(url: str) -> None:
    """A file sent in pieces is there, whole, beside those of the task's own frame."""
    data = base64.b64encode(b"x" * 300_000).decode()
    async with client(url) as greeting:
        await greeting.greet()
        for index in range(4):
            await greeting.say(
                "file_chunk", "s1", path="big", offset=index * 300_000, base64=data, last=index == 3
            )
        await greeting.say("execute_task", "s1", files={"small": "y"}, commands=["wc -c big", "cat small"])
        _, end = await greeting.session("s1")
        assert [command["stdout"] for command in end["result"]["commands"]] == ["1200000 big\n", "y"]


async def test_close_session_ends_what_runs(url: str) -> None:
    """A closed session gives up its room."""
    async with client(url) as greeting:
        await greeting.greet()
        await greeting.say("stream_task", "s1", commands=["sleep 1000"])
        await greeting.say("close_session", "s1")
        _, end = await greeting.session("s1")
        assert end["type"] == "task_error"


# --- met by our own bridge ---


async def test_bridge_runs_tasks(url: str) -> None:
    """The bridge has output, files of all sizes, full commands and results from the service."""
    spec = TaskSpec(
        files={"big": "z" * (3 * MAX_FRAME_BYTES)}, commands=["wc -c big", Command(sh="seq 2"), "cat big"]
    )
    async with bridge_to(url) as bridge:
        async with bridge.open("s1", spec) as session:
            text = await outputs(session)
        assert text == f"{3 * MAX_FRAME_BYTES} big\n1\n2\n" + "z" * (3 * MAX_FRAME_BYTES)
        assert session.result is not None
        assert bridge.active == 0


async def test_bridge_cancels(url: str) -> None:
    """What the bridge cancels, or leaves, ends in the service."""
    async with bridge_to(url) as bridge:
        async with bridge.open("s1", TaskSpec(commands=["sleep 1000"])) as session:
            await anext(session)
            await session.cancel()
            assert is_failure(await failure_of(session), "cancelled")
        async with bridge.open("s2", TaskSpec(commands=["yes"])) as session:
            await anext(session)
        async with asyncio.timeout(DEADLINE_S):
            while (await bridge.health()).active_sessions or bridge.active:
                """Ended within moments."""


async def test_bridge_has_timeouts_kept(url: str) -> None:
    """A task's time limit holds."""
    spec = TaskSpec(commands=["sleep 1000"], limits=Limits(timeout_s=0.3))
    async with bridge_to(url) as bridge, bridge.open("s1", spec) as session:
        assert is_failure(await failure_of(session), "timeout")
