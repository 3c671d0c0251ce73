"""What a task is given to read."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_bridge.local.session.stdin import MAX_INPUT_BYTES, PIECE_BYTES, InputTooLargeError, TaskInput
from tests.sandbox_bridge.local.service import Peer, code_of, progress, text_of
from tests.support.records import deterministic


@pytest.fixture
def task_input() -> Iterator[TaskInput]:
    """An input of which nothing has come."""
    made = TaskInput()
    yield made
    made.close()


@deterministic
@given(pieces=st.lists(st.tuples(st.binary(max_size=200_000), st.booleans()), max_size=12))
async def test_input_is_given_in_order_and_cut_at_its_ends(pieces: list[tuple[bytes, bool]]) -> None:
    """Each command gets what came before the next end of input, whole and in order."""
    task_input = TaskInput()
    wanted = [b""]
    for data, eof in [*pieces, (b"", True)]:
        task_input.put_nowait(data, eof=eof, seq=None)
        wanted[-1] += data
        if eof:
            wanted.append(b"")
    for command in wanted[:-1]:
        given_ = b""
        while piece := await task_input.next():
            given_ += piece
        assert given_ == command
    task_input.close()


async def test_input_of_a_number_that_was_here_is_not_taken_again(task_input: TaskInput) -> None:
    """A bridge that is back sends again what it can't know to have arrived."""
    for seq in (1, 2, 1, 2, 3):
        task_input.put_nowait(b"%d" % seq, eof=False, seq=seq)
    assert (await task_input.next(), task_input.last_seq) == (b"123", 3)


async def test_input_is_taken_once_it_is_handed_over(task_input: TaskInput) -> None:
    """What was given to a command that has ended is gone with it; a few bytes more are no news."""
    for seq in (1, 2, 3):
        task_input.put_nowait(b"x" * PIECE_BYTES, eof=False, seq=seq)
    await task_input.next()
    assert (task_input.taken_seq, task_input.news()) == (0, None)
    task_input.hand_over()
    assert (task_input.taken_seq, task_input.news(), task_input.news()) == (1, 1, None)
    await task_input.next()
    await task_input.next()
    assert task_input.news() == 2
    task_input.put_nowait(b"x", eof=False, seq=4)
    task_input.hand_over()
    await task_input.next()
    task_input.hand_over()
    assert (task_input.taken_seq, task_input.news()) == (4, 4)


async def test_more_than_a_task_may_read_is_refused(task_input: TaskInput) -> None:
    """What nobody reads is bounded."""
    task_input.put_nowait(b"x" * MAX_INPUT_BYTES, eof=False, seq=None)
    with pytest.raises(InputTooLargeError):
        task_input.put_nowait(b"x", eof=False, seq=None)


# --- through the service ------------------------------------------------------------------------------


def reads(text: str = "", *, eof: bool = False, **fields: object) -> dict[str, object]:
    """A `task_input`."""
    return {"type": "task_input", "session_id": "s", "data": text, "eof": eof, **fields}


async def start(bridge: Peer, *commands: object) -> None:
    """Start a task that reads, and wait until its first command has begun."""
    await bridge.send({"type": "stream_task", "session_id": "s", "commands": list(commands), "stdin": True})
    await bridge.recv()


async def test_commands_read_what_they_are_sent(bridge: Peer) -> None:
    """Input reaches the command that runs; after its end the next command's own comes."""
    await start(bridge, "cat", "cat | tr a-z A-Z")
    await bridge.send(reads("one\n"))
    await bridge.until(lambda frame: "one" in text_of([frame]))
    await bridge.send(reads("é\n", eof=True))
    await bridge.send(reads("two\n", eof=True))
    frames = await bridge.until_end()
    assert text_of(frames) == "é\nTWO\n"


async def test_input_that_was_sent_twice_is_read_once(bridge: Peer) -> None:
    """`seq` tells a repetition."""
    await start(bridge, "cat")
    for seq, text in ((1, "a"), (2, "b"), (2, "b"), (1, "a")):
        await bridge.send(reads(text, seq=seq))
    await bridge.send(reads("\n", eof=True, seq=3))
    assert text_of(await bridge.until_end()) == "ab\n"


async def test_bridge_that_asks_is_told_what_was_taken(bridge: Peer) -> None:
    """Of four pieces of which two fit into command and pipe, two; the rest goes with the command."""
    await bridge.send({"type": "hello", "protocol": "sandbox.v1", "input_taken": True})
    await start(bridge, "head -c 200000 >/dev/null; sleep 60")
    for seq in range(1, 5):
        await bridge.send(reads("x" * 100_000, seq=seq))
    await bridge.until(lambda frame: frame == {"session_id": "s", "type": "input_taken", "input_seq": 2})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await bridge.until(lambda frame: frame["type"] == "input_taken")
    await bridge.send({"type": "cancel_task", "session_id": "s"})
    await bridge.until_end()


async def test_bridge_that_does_not_ask_hears_nothing_of_it(bridge: Peer) -> None:
    """Not one frame that the protocol does not name."""
    await start(bridge, "wc -c")
    for seq in range(1, 5):
        await bridge.send(reads("x" * 100_000, seq=seq, eof=seq == 4))
    frames = await bridge.until_end()
    assert text_of(frames) == "400000\n"
    assert {frame["type"] for frame in frames} == {"task_progress", "task_completed"}


async def test_command_that_does_not_read_is_not_held_up(bridge: Peer) -> None:
    """Input beyond what a pipe holds waits, and the task ends all the same."""
    await start(bridge, "sleep 0.3; echo done")
    for _ in range(8):
        await bridge.send(reads("x" * 100_000))
    assert text_of(await bridge.until_end()) == "done\n"


async def test_terminal_is_one(bridge: Peer) -> None:
    """A command on a terminal sees its size and its changes, and Ctrl-C interrupts it."""
    script = "trap 'stty size; exit 5' INT; stty size; while :; do sleep 0.05; done"
    await start(bridge, {"sh": script, "tty": {"cols": 80, "rows": 24}})
    await bridge.until(lambda frame: "24 80" in text_of([frame]))
    await bridge.send({"type": "resize", "session_id": "s", "cols": 100, "rows": 30})
    await bridge.send(reads("\x03"))
    frames = await bridge.until_end()
    assert "30 100" in text_of(frames)
    assert progress(frames, "command")[-1]["exit_code"] == 5


async def test_terminal_without_input_is_at_its_end(bridge: Peer) -> None:
    """A command on a terminal that nobody types on finds the end of its input, and does not wait for ever."""
    frames = await bridge.run(
        {"sh": "cat; echo over", "tty": {"cols": 80, "rows": 24}}, limits={"timeout_s": 10}
    )
    assert text_of(frames).split() == ["over"]


async def test_idle_task_ends(bridge: Peer) -> None:
    """A task that neither writes nor reads for `idle_s` ends, and says why; input keeps it alive."""
    await bridge.send(
        {
            "type": "stream_task",
            "session_id": "s",
            "commands": ["cat >/dev/null"],
            "stdin": True,
            "limits": {"idle_s": 1},
        }
    )
    await bridge.recv()
    began = asyncio.get_running_loop().time()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await bridge.socket.recv()
        await bridge.send(reads("x"))
    end = (await bridge.until_end())[-1]
    assert (code_of(end), end["error_info"]["reason"]) == ("timeout", "idle")
    assert 2.3 < asyncio.get_running_loop().time() - began < 5


async def test_held_back_task_is_not_idle(bridge: Peer) -> None:
    """A task whose output nobody takes waits for its reader, not the other way round."""
    await bridge.send(
        {
            "type": "stream_task",
            "session_id": "s",
            "commands": ["yes | head -c 400000"],
            "limits": {"idle_s": 0.5},
        }
    )
    taken = 0
    while taken < 256 << 10:
        taken += len(text_of([await bridge.recv()]))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await bridge.socket.recv()
    await bridge.send({"type": "credit", "session_id": "s", "bytes": 400_000})
    end = (await bridge.until_end())[-1]
    assert end["type"] == "task_completed"
