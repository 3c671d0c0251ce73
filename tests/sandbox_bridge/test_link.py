"""What a link makes of the frames of a sandbox that may be broken or hostile, on virtual time."""

import json

import pytest
from structlog.testing import capture_logs

from sandbox_bridge.errors import SandboxBusy, SandboxError, SandboxLost, TaskFailed
from sandbox_bridge.protocol import MAX_FRAME_BYTES
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import greeted, outputs, until

pytestmark = pytest.mark.looptime


async def test_only_the_first_end_counts() -> None:
    """Whatever a sandbox says of a session after its end is dropped."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.complete("s1")
        await peer.say({"type": "task_error", "session_id": "s1", "error": "no"})
        await peer.progress("s1", "late")
        await peer.complete("s1")
        assert await outputs(session) == ""
        assert (session.result, session.error) == ({"exit_code": 0}, None)
        assert bridge.active == 0


async def test_progress_before_the_end_is_read_after_it() -> None:
    """A reader that comes late still gets all progress, then the end."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.progress("s1", "a")
        await peer.progress("s1", "b")
        await peer.complete("s1")
        await session.wait_ended()
        assert await outputs(session) == "ab"


async def test_frames_of_unknown_sessions_are_ignored() -> None:
    """Nobody's frames harm nobody, however many."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        for number in range(200):
            await peer.progress(f"x{number}", "boo")
            await peer.complete(f"x{number}")
        await peer.complete("s1")
        assert await outputs(session) == ""


@pytest.mark.parametrize(
    ("info", "expected", "code"),
    [
        ({"code": "command_failed", "exit_code": 2, "reason": "exit"}, TaskFailed, "command_failed"),
        ({"code": "memory_limit", "reason": "memory"}, TaskFailed, "memory_limit"),
        ({"code": "cancelled", "reason": "cancelled"}, TaskFailed, "cancelled"),
        ({"code": "busy"}, SandboxBusy, None),
        ({"code": "unknown_session"}, SandboxLost, None),
        ({"code": "sandbox_lost"}, SandboxLost, None),
        (None, TaskFailed, "command_failed"),
    ],
)
async def test_task_error_becomes_an_exception(
    info: dict[str, object] | None, expected: type[SandboxError], code: str | None
) -> None:
    """The code of a `task_error` decides what it is: the task's failure, no room, or a lost place."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        extra = {} if info is None else {"error_info": info}
        await peer.say({"type": "task_error", "session_id": "s1", "error": "why", **extra})
        with pytest.raises(expected, match="why") as caught:
            await outputs(session)
        assert getattr(caught.value, "code", None) == code


async def test_broken_progress_costs_nothing() -> None:
    """A progress frame that can't be read is dropped, the session goes on."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        for _ in range(100):
            await peer.say({"type": "task_progress", "session_id": "s1", "progress": 0.5})
        await peer.progress("s1", "good")
        await peer.complete("s1")
        assert await outputs(session) == "good"


async def test_broken_frames_are_a_line_of_the_log_and_a_count() -> None:
    """However many a sandbox sends, and however long they are, they fill no log."""
    with capture_logs() as lines:
        async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
            for _ in range(100):
                await peer.say({"type": "task_progress", "session_id": "s1", "progress": "x" * 10_000})
            await peer.say({"type": "task_progress", "session_id": "y" * 10_000})
            await peer.complete("s1")
            await outputs(session)
    said = [line for line in lines if line["event"].startswith("broken frame")]
    assert [(line["event"], line.get("count")) for line in said] == [
        ("broken frame", None),
        ("broken frames", 101),
    ]
    assert all(len(str(line)) < 2000 for line in said)


@pytest.mark.parametrize(
    "said",
    [{}, {"error": {"why": "boom"}}, {"error": "boom", "error_info": 5}, {"error_info": {"exit_code": "3"}}],
)
async def test_task_error_in_words_of_its_own_is_the_tasks_failure(said: dict[str, object]) -> None:
    """A peer that says that the task has failed, however it says why, has not lost it: it is not run again."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.say({"type": "task_error", "session_id": "s1", **said})
        with pytest.raises(TaskFailed, match="boom" if "error" in said else "no reason") as caught:
            await outputs(session)
        assert caught.value.code == "command_failed"


async def test_half_a_character_costs_no_frame() -> None:
    """What JavaScript has cut in the middle of a character comes with U+FFFD for its half, output and end."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        progress = {"kind": "output", "stream": "stdout", "text": "a\ud83d"}
        for kind, said in (
            ("task_progress", {"progress": progress}),
            ("task_completed", {"result": {"x": "\ude00"}}),
        ):
            await peer.say(json.dumps({"type": kind, "session_id": "s1", **said}))
        assert await outputs(session) == "a\ufffd"
        assert session.result == {"x": "\ufffd"}


@pytest.mark.parametrize("said", [{}, {"result": None}])
async def test_end_without_a_result_is_an_end(said: dict[str, object]) -> None:
    """A peer whose run returned nothing has completed it: it is not run again."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.say({"type": "task_completed", "session_id": "s1", **said})
        await outputs(session)
        assert session.result == {}


async def test_broken_end_costs_its_session() -> None:
    """A result that can't be read leaves the outcome unknown: the session is lost, others go on."""
    async with greeted() as (bridge, peer):
        async with bridge.open("s1", TaskSpec()) as broken, bridge.open("s2", TaskSpec()) as good:
            await peer.say({"type": "task_completed", "session_id": "s1", "result": []})
            with pytest.raises(SandboxLost, match="can't be read"):
                await outputs(broken)
            await peer.complete("s2")
            await outputs(good)
        assert peer.dials == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"type":"strange"}', "[" * 100_000, "\x00", '{"a":1e999}'])
async def test_broken_frames_cost_the_connection_only_in_the_end(text: str) -> None:
    """Twenty frames that are none are forgiven on a connection; with the next one it is given up."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.say(*[text] * 20)
        await peer.progress("s1", "still here")
        assert (await anext(session))["text"] == "still here"
        await peer.say(text)
        with pytest.raises(SandboxLost, match="does not keep to the protocol"):
            await outputs(session)


async def test_frame_beyond_the_agreed_size_ends_the_connection() -> None:
    """After `hello` no frame is larger than 1 MiB."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.progress("s1", "x" * MAX_FRAME_BYTES)
        with pytest.raises(SandboxLost, match="more than"):
            await outputs(session)
        await until(lambda: bridge.info is None)


async def test_collected_files_come_as_progress() -> None:
    """The pieces of collected files come through the iteration, where credit can be given for them."""
    chunk = {"path": "a", "offset": 0, "base64": "AA==", "last": True}
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.say({"type": "file_chunk", "session_id": "s1", **chunk})
        assert await anext(session) == {"kind": "file_chunk", **chunk}


async def test_answer_of_health_that_nobody_asked_for_is_ignored() -> None:
    """A `health` out of the blue, and signals of another version, change nothing."""
    async with greeted() as (bridge, peer), bridge.open("s1", TaskSpec()) as session:
        await peer.say({"type": "health", "status": "ill"}, {"type": "task_paused", "session_id": "s1"})
        await peer.complete("s1")
        await outputs(session)
