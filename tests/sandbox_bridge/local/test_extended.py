"""The extensions, after a hello: seq, limits, credit, files sent ahead, close_session."""

import asyncio
import base64

import pytest

from tests.sandbox_bridge.local.service import (
    Frame,
    Peer,
    Service,
    code_of,
    eventually,
    open_files,
    progress,
    running_service,
    task,
    text_of,
)

INITIAL_CREDIT = 256 << 10


async def test_hello_says_who_we_are(service: Service) -> None:
    """The answer to hello names the sandbox, its process, its isolation, and only what works."""
    async with Peer(service.url) as one, Peer(service.url) as other:
        hello = await one.hello()
        assert hello == await other.hello()
    assert (hello["type"], hello["protocol"], hello["runtime"]) == ("hello", "sandbox.v1", "local")
    assert (hello["max_sessions"], hello["labels"], hello["resume"]) == (8, {}, [])
    assert hello["isolation"] | {"tier": "bwrap", "network": False} == hello["isolation"]
    assert {"stdin", "tty", "serve", "limits", "backpressure", "stderr_split"} <= set(hello["capabilities"])


async def test_boot_id_is_new_with_each_process(service: Service) -> None:
    """Whoever finds another boot_id knows that the sessions are lost."""
    with running_service() as second:
        async with Peer(service.url) as one, Peer(second.url) as other:
            assert (await one.hello())["boot_id"] != (await other.hello())["boot_id"]


async def test_hello_of_another_protocol_is_refused(peer: Peer) -> None:
    """A hello in a protocol that we do not speak is a bad frame, and the core goes on."""
    await peer.send({"type": "hello", "protocol": "sandbox.v2"})
    assert code_of(await peer.recv()) == "bad_input"
    assert "seq" not in (await peer.run("true"))[0]


async def test_frames_are_numbered_per_session(bridge: Peer) -> None:
    """Each session's frames count 1, 2, 3 …, its end as well."""
    for session_id in ("a", "b"):
        frames = await bridge.run("echo 1; echo 2 >&2", "echo 3", session_id=session_id)
        assert [frame.get("seq") for frame in frames] == [*range(1, len(frames) + 1)]


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "credit", "session_id": "s", "bytes": 1},
        {"type": "file_chunk", "session_id": "s", "path": "a", "offset": 0, "base64": "", "last": True},
    ],
)
async def test_extensions_need_a_hello(peer: Peer, frame: Frame) -> None:
    """Without hello an extension is a bad frame."""
    await peer.send(frame)
    assert code_of(await peer.recv()) == "bad_input"


async def test_oversized_frame_costs_an_error(bridge: Peer) -> None:
    """After hello a frame over 1 MiB is refused, and the sessions beside it live."""
    await bridge.send(task("sleep 0.3; echo fine", session_id="good"))
    await bridge.send(task("true", session_id="big", files={"a": "x" * (1 << 20)}))
    refused = (await bridge.until(lambda frame: frame["session_id"] == "big"))[-1]
    assert code_of(refused) == "bad_input"
    assert text_of(await bridge.until_end("good")) == "fine\n"


async def test_unknown_session_of_a_signal_is_ignored(bridge: Peer) -> None:
    """Late credit, a late close, or a signal that we do not offer is no error."""
    for kind in ("close_session", "pause_task"):
        await bridge.send({"type": kind, "session_id": "gone"})
    await bridge.send({"type": "credit", "session_id": "gone", "bytes": 1})
    await bridge.send({"type": "health_check"})
    assert (await bridge.recv())["type"] == "health"


async def test_close_session_ends_a_running_task(bridge: Peer) -> None:
    """A session that is closed while it runs ends as cancelled."""
    await bridge.send(task("sleep 60"))
    await bridge.recv()
    await bridge.send({"type": "close_session", "session_id": "s"})
    assert code_of((await bridge.until_end())[-1]) == "cancelled"


# --- credit -------------------------------------------------------------------------------------------


async def read_output(bridge: Peer, count: int) -> str:
    """Output until there are `count` characters of it."""
    text = ""
    while len(text) < count:
        text += text_of([await bridge.recv()])
    return text


async def test_output_waits_for_credit(bridge: Peer) -> None:
    """Exactly the initial credit comes; then nothing until more is granted; then exactly that."""
    await bridge.send(task("yes 1234567"))
    assert len(await read_output(bridge, INITIAL_CREDIT)) == INITIAL_CREDIT
    await bridge.send({"type": "health_check"})
    assert (await bridge.recv())["type"] == "health"
    await bridge.send({"type": "credit", "session_id": "s", "bytes": 100_000})
    assert len(await read_output(bridge, 100_000)) == 100_000
    await bridge.send({"type": "cancel_task", "session_id": "s"})
    frames = await bridge.until_end()
    assert text_of(frames) == ""
    assert [(gap["stream"], gap["reason"]) for gap in progress(frames, "output_gap")] == [
        ("stdout", "cancelled")
    ]


async def test_held_back_output_blocks_its_process(bridge: Peer) -> None:
    """Without credit the process that writes waits; nothing of its output is lost or piled up."""
    lines = 300_000
    await bridge.send(task(f"seq 1 {lines}; echo end >&2"))
    text = await read_output(bridge, INITIAL_CREDIT)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await bridge.socket.recv()
    await bridge.send({"type": "credit", "session_id": "s", "bytes": 4 << 20})
    text += text_of(await bridge.until_end())
    assert text == "".join(f"{n}\n" for n in range(1, lines + 1))


async def test_credit_counts_utf8_bytes(bridge: Peer) -> None:
    """Credit is in bytes of UTF-8, and a character that does not fit any more waits whole."""
    await bridge.send(task("yes ✓✓✓✓✓✓✓✓✓"))
    total = 0
    while total < INITIAL_CREDIT - 4:
        total += len(text_of([await bridge.recv()]).encode())
    assert total <= INITIAL_CREDIT


# --- limits -------------------------------------------------------------------------------------------


async def test_output_limit_counts_and_shows_the_end(bridge: Peer) -> None:
    """Past the limit one gap at once; at the end the count and the last 64 KiB; the task completes."""
    limit, total = 100_000, 3_000_000
    frames = await bridge.run(f"yes abc | head -c {total}; echo; echo last", limits={"output_bytes": limit})
    gaps = progress(frames, "output_gap")
    shown = len(text_of(frames))
    assert shown == limit + (64 << 10)
    assert gaps == [
        {"kind": "output_gap", "stream": "stdout", "dropped_bytes": None, "reason": "limit"},
        {
            "kind": "output_gap",
            "stream": "stdout",
            "dropped_bytes": total + len("\nlast\n") - shown,
            "reason": "limit",
        },
    ]
    assert text_of(frames).endswith("\nlast\n")
    assert frames[-1]["result"]["exit_code"] == 0


async def test_endless_output_leaves_memory_flat(service: Service, bridge: Peer) -> None:
    """`yes` for seconds under a limit of 1 MiB costs the service no memory."""
    limits = {"output_bytes": 1 << 20}
    await bridge.send(task("timeout 0.2 yes; true", limits=limits, session_id="warm"))
    await bridge.send({"type": "credit", "session_id": "warm", "bytes": 2 << 20})
    await bridge.until_end("warm")
    before = service.rss_kib()
    await bridge.send(task("timeout 2 yes; true", limits=limits))
    await bridge.send({"type": "credit", "session_id": "s", "bytes": 2 << 20})
    frames = await bridge.until(lambda frame: bool(progress([frame], "output_gap")))
    assert progress(frames, "output_gap")[0]["dropped_bytes"] is None
    peak = 0
    ended = asyncio.ensure_future(bridge.until_end())
    while not ended.done():
        peak = max(peak, service.rss_kib())
        await asyncio.wait([ended], timeout=0.1)
    assert (await ended)[-1]["type"] == "task_completed"
    assert peak - before < 4096


async def test_timeout_ends_the_task(bridge: Peer) -> None:
    """A task that runs out of wall clock fails `timeout`, and keeps what it wrote."""
    frames = await bridge.run("echo early; sleep 60", limits={"timeout_s": 0.5})
    assert text_of(frames) == "early\n"
    info = frames[-1]["error_info"]
    assert (info["code"], info["exit_code"], info["reason"]) == ("timeout", None, "timeout")
    assert info["result"]["commands"][0]["stdout"] == "early\n"
    assert progress(frames, "command")[-1]["reason"] == "timeout"


async def test_timeout_counts_while_output_waits(bridge: Peer) -> None:
    """A task nobody takes output from ends on time all the same."""
    frames = await bridge.run("yes", limits={"timeout_s": 0.5})
    assert code_of(frames[-1]) == "timeout"


async def test_command_has_a_timeout_of_its_own(bridge: Peer) -> None:
    """A command's own timeout ends it alone, also when it ignores TERM; the task may go on."""
    slow = {"sh": "trap '' TERM; while :; do sleep 1; done", "timeout_s": 0.2, "continue_on_error": True}
    frames = await bridge.run(slow, "echo after")
    assert progress(frames, "command")[1]["reason"] == "timeout"
    assert (text_of(frames), frames[-1]["type"]) == ("after\n", "task_completed")


async def test_full_disk_is_told(bridge: Peer) -> None:
    """A command that fails on a full disk is `resource_limit`, with the exit code it had."""
    info = (await bridge.run("dd if=/dev/zero of=big bs=1M count=9", limits={"disk_mb": 8}))[-1]["error_info"]
    assert (info["code"], info["exit_code"], info["reason"]) == ("resource_limit", 1, "disk")


async def test_files_beyond_the_disk_are_told(peer: Peer) -> None:
    """Files that do not fit fail the task before any command runs."""
    end = (await peer.run("true", files={"a": "x" * (2 << 20)}, limits={"disk_mb": 1}))[-1]
    info = end["error_info"]
    assert (info["code"], info["exit_code"], info["reason"]) == ("resource_limit", None, "disk")


async def test_fork_bomb_stays_in_its_jail(service: Service, bridge: Peer) -> None:
    """A jail has only so many processes, and another one has its own."""
    bomb = {"sh": "for i in $(seq 50); do sleep 5 & done", "continue_on_error": True}
    await bridge.send(task(bomb, "wait; sleep 9", session_id="bomb", limits={"processes": 20}))
    frames = await bridge.until(lambda frame: "fork" in text_of([frame], "stderr"))
    assert "Cannot fork" in text_of(frames, "stderr")
    async with Peer(service.url) as other:
        assert (
            text_of(await other.run("for i in 1 2 3 4 5 6 7 8; do sleep 0.1 & done; wait; echo fine"))
            == "fine\n"
        )
    await bridge.send({"type": "cancel_task", "session_id": "bomb"})
    await bridge.until_end("bomb")


# --- files sent ahead ---------------------------------------------------------------------------------


def chunk(path: str, data: bytes, *, offset: int = 0, last: bool = True, session_id: str = "s") -> Frame:
    """One `file_chunk`."""
    encoded = base64.b64encode(data).decode()
    return {
        "type": "file_chunk",
        "session_id": session_id,
        "path": path,
        "offset": offset,
        "base64": encoded,
        "last": last,
    }


async def test_files_sent_ahead_are_there(bridge: Peer) -> None:
    """Files too large for a frame come in chunks before their task, and lie beside the task's own."""
    half = bytes(range(256)) * 2048
    await bridge.send(chunk("d/big", half, last=False))
    await bridge.send(chunk("d/big", half, offset=len(half)))
    await bridge.send(chunk("empty", b""))
    frames = await bridge.run("wc -c < d/big; wc -c < empty; cat own", files={"own": "own"})
    assert text_of(frames).split() == ["1048576", "0", "own"]


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk("../up", b"a")],
        [chunk("a", b"a", last=False)],
        [chunk("a", b"a", offset=5)],
        [chunk("a", b"a"), chunk("a", b"b")],
        [chunk("a", b"a", last=False), chunk("b", b"b")],
        [chunk("own", b"a")],
        [chunk("own/below", b"a")],
    ],
)
async def test_wrong_chunks_fail_their_task(bridge: Peer, chunks: list[Frame]) -> None:
    """Chunks that can't be right are answered once, when their task comes: `bad_input`."""
    for frame in chunks:
        await bridge.send(frame)
    frames = await bridge.run("true", files={"own": "own"})
    assert code_of(frames[0]) == "bad_input"


async def test_chunks_without_a_task_are_dropped() -> None:
    """A session's chunks go when its task does not come in time."""
    with running_service(SANDBOX_STAGING_TIMEOUT_S="0.2") as service:
        async with Peer(service.url) as bridge:
            await bridge.hello()
            before = open_files(service)
            await bridge.send(chunk("a", b"a"))
            assert eventually(lambda: open_files(service) > before)
            assert eventually(lambda: open_files(service) == before)
            assert code_of((await bridge.run("cat a"))[-1]) == "command_failed"


async def test_cancel_of_chunks_ends_the_session(bridge: Peer) -> None:
    """A session cancelled before its task came has its end, and its chunks are gone."""
    await bridge.send(chunk("a", b"a"))
    await bridge.send({"type": "cancel_task", "session_id": "s"})
    assert code_of(await bridge.recv()) == "cancelled"
