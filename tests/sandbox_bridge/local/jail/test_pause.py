"""Tasks that stand still, and their ends from there."""

import asyncio
import secrets
from typing import Any

import pytest

from tests.sandbox_bridge.local.service import (
    Peer,
    Service,
    code_of,
    eventually,
    processes_with,
    progress,
    running_service,
    task,
    text_of,
)


@pytest.fixture
def marker() -> str:
    """A word that no other process has."""
    return f"marker-{secrets.token_hex(8)}"


TICKING = "while :; do echo tick; sleep 0.02; done"


def paused(frame: dict[str, object]) -> bool:
    """Whether it says that a task stands still."""
    return frame["type"] == "task_paused"


async def say(bridge: Peer, kind: str) -> None:
    """Send a frame that is about the session and no more."""
    await bridge.send({"type": kind, "session_id": "s"})


async def pause(bridge: Peer) -> None:
    """Have the session's task stand still."""
    await say(bridge, "pause_task")
    await bridge.until(paused)


async def silence(bridge: Peer, seconds: float) -> None:
    """Nothing comes for so long."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await bridge.socket.recv()


async def begin(bridge: Peer, *commands: object, **fields: Any) -> None:
    """Start a task, and wait for its first output."""
    await bridge.send(task(*commands, **fields))
    await bridge.until(lambda frame: text_of([frame]) != "")


async def test_paused_task_stands_still_until_it_is_resumed(bridge: Peer) -> None:
    """After `task_paused` nothing comes; after `task_resumed` it goes on where it was."""
    await begin(bridge, TICKING)
    await pause(bridge)
    await silence(bridge, 0.3)
    await say(bridge, "resume_task")
    frames = await bridge.until(lambda frame: "tick" in text_of([frame]))
    assert [frame["type"] for frame in frames] == ["task_resumed", "task_progress"]
    await say(bridge, "cancel_task")
    assert code_of((await bridge.until_end())[-1]) == "cancelled"


async def test_what_was_printed_comes_before_the_pause(bridge: Peer) -> None:
    """Of a flood, also where credit comes while it stands still: nothing after `task_paused`, and no byte is lost."""
    await begin(bridge, "seq 1 1000000000")
    printed = ""
    for _ in range(8):
        await say(bridge, "pause_task")
        printed += text_of(await bridge.until(paused))
        await bridge.send({"type": "credit", "session_id": "s", "bytes": 1 << 20})
        await silence(bridge, 0.05)
        await say(bridge, "resume_task")
        printed += text_of(await bridge.until(lambda frame: text_of([frame]) != ""))
    numbers = [int(line) for line in printed.split("\n")[1:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    await say(bridge, "cancel_task")
    await bridge.until_end()


async def test_wishes_can_be_said_twice(bridge: Peer) -> None:
    """Each is answered, also where it was true already."""
    await begin(bridge, TICKING)
    for kind in ("pause_task", "pause_task", "resume_task", "resume_task", "pause_task"):
        await say(bridge, kind)
    answers: list[str] = []
    while len(answers) < 5:
        frames = await bridge.until(lambda frame: frame["type"] in {"task_paused", "task_resumed"})
        answers.append(frames[-1]["type"])
    assert answers == ["task_paused", "task_paused", "task_resumed", "task_resumed", "task_paused"]
    await say(bridge, "cancel_task")
    await bridge.until_end()


async def test_clocks_stand_still_too(bridge: Peer) -> None:
    """Neither the task's time, nor its command's, nor its idle time goes on while it stands still."""
    command = {"sh": "echo begun; sleep 0.6; echo done", "timeout_s": 1.2}
    await begin(bridge, command, limits={"timeout_s": 1.2, "idle_s": 1.2})
    await pause(bridge)
    await silence(bridge, 1.5)
    await say(bridge, "resume_task")
    frames = await bridge.until_end()
    assert (frames[-1]["type"], text_of(frames)) == ("task_completed", "done\n")


async def test_clocks_go_on_afterwards(bridge: Peer) -> None:
    """What is left of a task's time is all that it has left."""
    await begin(bridge, TICKING, limits={"timeout_s": 0.8})
    await pause(bridge)
    await silence(bridge, 0.5)
    await say(bridge, "resume_task")
    assert code_of((await bridge.until_end())[-1]) == "timeout"


@pytest.mark.parametrize("kind", ["cancel_task", "close_session"])
async def test_paused_task_can_say_goodbye(bridge: Peer, kind: str, marker: str) -> None:
    """Whoever stands still is thawed to hear that he is to end."""
    await begin(bridge, f"trap 'echo bye; exit 7' TERM; while :; do echo tick; sleep 0.02; : {marker}; done")
    await pause(bridge)
    await say(bridge, kind)
    frames = await bridge.until_end()
    assert "bye" in text_of(frames)
    assert (code_of(frames[-1]), frames[-1]["error_info"]["exit_code"]) == ("cancelled", 7)
    assert processes_with(marker) == []


async def test_paused_task_that_will_not_end_is_killed(marker: str) -> None:
    """Grace is given once, and 100 ms after it nothing is left.

    Beside what the end of a willing task takes on this machine now; of three, one that nobody else has held up.
    """
    ticking = f"while :; do echo tick; sleep 0.02; : {marker}; done"
    with running_service(SANDBOX_CANCEL_GRACE_S="0.5", SANDBOX_RESUME_S="0") as service:
        willing_s = max([await end_of_paused_s(service, ticking, marker) for _ in range(3)])
        stubborn_s = min(
            [await end_of_paused_s(service, f"trap '' TERM; {ticking}", marker) for _ in range(3)]
        )
    assert 0.5 <= stubborn_s < 0.5 + 0.1 + willing_s


async def end_of_paused_s(service: Service, command: str, marker: str) -> float:
    """How long it takes from the cancel of a paused task to its end, when nothing of it is left."""
    async with Peer(service.url) as bridge:
        await bridge.hello()
        await begin(bridge, command)
        await pause(bridge)
        began = asyncio.get_running_loop().time()
        await say(bridge, "cancel_task")
        assert code_of((await bridge.until_end())[-1]) == "cancelled"
        took = asyncio.get_running_loop().time() - began
        assert processes_with(marker) == []
    return took


async def test_paused_task_goes_with_its_bridge(marker: str) -> None:
    """A task that stands still when its bridge is given up is gone all the same."""
    with running_service(SANDBOX_RESUME_S="0.3") as service:
        async with Peer(service.url) as bridge:
            await bridge.hello()
            await begin(bridge, f"while :; do echo tick; sleep 0.02; : {marker}; done")
            await pause(bridge)
            assert processes_with(marker) != []
        assert eventually(lambda: processes_with(marker) == [])


async def test_pause_lasts_over_a_lost_socket() -> None:
    """A bridge that comes back finds the task standing, and lets it go on."""
    with running_service() as service:
        async with Peer(service.url) as bridge:
            await bridge.hello()
            await begin(bridge, TICKING)
            await pause(bridge)
            bridge.socket.transport.abort()
        async with Peer(service.url) as other:
            order = {"session_id": "s", "action": "continue", "after_seq": 0}
            await other.send({"type": "hello", "protocol": "sandbox.v1", "sessions": [order]})
            last_seq = (await other.recv())["resume"][0]["last_seq"]
            await other.until(lambda frame: frame.get("seq") == last_seq)
            await silence(other, 0.3)
            await say(other, "resume_task")
            frames = await other.until(lambda frame: "tick" in text_of([frame]))
            assert [frame["type"] for frame in frames] == ["task_resumed", "task_progress"]
            await say(other, "cancel_task")
            assert progress(await other.until_end(), "command")[-1]["reason"] == "cancelled"
