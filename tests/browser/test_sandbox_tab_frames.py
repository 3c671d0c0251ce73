"""What a tab says to its bridge, frame by frame: the test plays the gateway's end of the socket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from sandbox_bridge.protocol import SandboxHello, encode, parse_from_sandbox
from tests.support.gateway import GatewayProcess
from tests.support.played_bridge import WAIT_S, PlayedBridge, met
from tests.support.tabs import Tab
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

WINDOW = 256 << 10


@pytest_asyncio.fixture(loop_scope="package")
async def played(
    browser: Browser, tabs_gateway: GatewayProcess, runtime_url: str
) -> AsyncIterator[tuple[PlayedBridge, Tab]]:
    """A bridge and the tab that has dialled it."""
    async with met(browser, tabs_gateway.url, runtime_url) as (bridge, tab):
        yield bridge, tab


async def test_tab_says_who_it_is_and_what_it_can_not(played: tuple[PlayedBridge, Tab]) -> None:
    """Hello comes first, and claims no more than it does; health is told; a task ends without progress before."""
    bridge, tab = played
    hello = parse_from_sandbox(encode(await bridge.hear()))
    assert isinstance(hello, SandboxHello)
    assert (hello.runtime, hello.max_sessions, hello.resume) == ("webcontainer", 1, [])
    assert not {"pause", "limits", "backpressure", "stderr_split"} & set(hello.capabilities)
    assert hello.isolation == {
        "tier": "webcontainer",
        "network": True,
        "limits": ["timeout_s", "idle_s", "output_bytes"],
    }
    bridge.greet()
    await tab.is_in("waiting")
    bridge.say("health_check")
    health = {"type": "health", "status": "healthy", "active_sessions": 0, "max_sessions": 1}
    assert await bridge.hear() == health
    bridge.say("execute_task", "a", commands=["echo hi", "sleep 0.01"])
    end = await bridge.hear()
    assert (end["type"], end["seq"], end["result"]["exit_code"]) == ("task_completed", 1, 0)
    assert end["result"]["commands"][0]["stdout"] == "hi\n"
    for frame in bridge.seen:
        parse_from_sandbox(encode(frame))


async def test_each_task_ends_once_and_each_refusal_has_its_word(played: tuple[PlayedBridge, Tab]) -> None:
    """A second task is busy, a cancel of nothing unknown, of what has ended ignored, of what was sent ahead the end."""
    bridge, _ = played
    await bridge.hear()
    bridge.greet()
    bridge.say("stream_task", "a", commands=["sleep 600"])
    bridge.say("stream_task", "b", commands=["true"])
    assert code_of(await bridge.end_of("b")) == "busy"
    bridge.say("cancel_task", "nobody")
    assert code_of(await bridge.end_of("nobody")) == "unknown_session"
    bridge.send_file("c", "x", b"x", piece=1)
    bridge.say("cancel_task", "c")
    assert code_of(await bridge.end_of("c")) == "cancelled"
    bridge.say("close_session", "a")
    assert code_of(await bridge.end_of("a")) == "cancelled"
    bridge.say("cancel_task", "a")
    bridge.send_file("d", "x", b"x", piece=1)
    bridge.say("file_chunk", "d", path="y", offset=5, base64="", last=True)
    bridge.say("stream_task", "d", commands=["true"])
    assert code_of(await bridge.end_of("d")) == "bad_input"
    bridge.say("stream_task", "e", files={"__proto__/x": ""}, commands=["true"])
    assert code_of(await bridge.end_of("e")) == "bad_input"
    bridge.say("stream_task", "f", commands=[{"argv": ["no-such-program"]}])
    end = await bridge.end_of("f")
    assert (code_of(end), end["error_info"]["exit_code"]) == ("command_failed", None)
    ends = [frame for frame in bridge.seen if frame["type"] in {"task_error", "task_completed"}]
    assert len(ends) == len({frame["session_id"] for frame in ends}) == 7


async def test_output_waits_for_credit_and_is_bounded_while_it_waits(
    played: tuple[PlayedBridge, Tab],
) -> None:
    """No more than the window is sent unasked; 4 MiB wait behind it, and what is left out beyond is counted."""
    bridge, tab = played
    await bridge.hear()
    bridge.greet()
    bridge.say("stream_task", "a", commands=["spill 60000; echo end"])
    sent = 0
    while sent < WINDOW:
        sent += cost_of(await bridge.hear())
    assert sent == WINDOW
    await eventually(tab.has_nothing_running)
    bridge.say("health_check")
    assert (await bridge.hear())["type"] == "health"
    bridge.say("credit", "a", bytes=16 << 20)
    frames = await bridge.until("task_completed")
    gaps = [f["progress"] for f in frames if f.get("progress", {}).get("kind") == "output_gap"]
    shown = sent + sum(map(cost_of, frames))
    assert [(gap["reason"], gap["dropped_bytes"] > 0) for gap in gaps] == [("overflow", True)]
    assert shown + gaps[0]["dropped_bytes"] == 6_000_000 + len("end\n")
    assert frames[-1]["result"]["commands"][0]["stdout"].endswith("end\n")


async def test_tab_goes_on_from_what_its_bridge_has(played: tuple[PlayedBridge, Tab]) -> None:
    """On the next socket it offers what it has, and says again what follows the number it is told; a kill ends it."""
    bridge, _ = played
    first = await bridge.hear()
    bridge.greet()
    bridge.say("stream_task", "a", commands=["tick 4; sleep 600"])
    before = [await bridge.hear() for _ in range(3)]
    await bridge.drop()
    again = (await bridge.until("hello"))[-1]
    assert (again["boot_id"], again["sandbox_id"]) == (first["boot_id"], first["sandbox_id"])
    (offer,) = again["resume"]
    assert (offer["session_id"], offer["last_seq"] >= 3) == ("a", True)
    bridge.greet({"session_id": "a", "action": "continue", "after_seq": 2})
    taken_up = [await bridge.hear() for _ in range(3)]
    assert taken_up[0] == before[2]
    assert [frame["seq"] for frame in taken_up] == [3, 4, 5]
    await bridge.drop()
    await bridge.until("hello")
    bridge.greet(
        {"session_id": "a", "action": "kill"}, {"session_id": "never", "action": "continue", "after_seq": 1}
    )
    assert code_of(await bridge.end_of("never")) == "unknown_session"
    assert code_of(await bridge.end_of("a")) == "cancelled"


async def test_session_that_nobody_takes_up_ends_after_eight_seconds(
    played: tuple[PlayedBridge, Tab],
) -> None:
    """Its time is not begun anew by each vain try to dial; behind it its place is free, and its end is kept."""
    bridge, tab = played
    await bridge.hear()
    bridge.greet()
    await tab.page.clock.install(time=0)
    await tab.page.clock.pause_at(1_000)
    bridge.say("stream_task", "a", commands=["stubborn"])
    await bridge.until("task_progress")
    bridge.is_away = True
    await bridge.drop()
    await tab.is_in("offline")
    # In steps, for what is dialled is answered in real time: 8 s, and what a process has that does not end.
    for _ in range(44):
        await tab.page.clock.run_for(250)
    assert bridge.refused > 2
    bridge.is_away = False
    async with asyncio.timeout(WAIT_S):
        while not bridge.has_word:
            await tab.page.clock.run_for(250)
    await tab.page.clock.resume()
    (offer,) = (await bridge.until("hello"))[-1]["resume"]
    bridge.greet({"session_id": "a", "action": "continue", "after_seq": offer["last_seq"] - 1})
    end = await bridge.end_of("a")
    assert (code_of(end), end["error_info"]["exit_code"]) == ("cancelled", None)
    bridge.say("health_check")
    assert (await bridge.until("health"))[-1]["active_sessions"] == 0


async def test_large_files_come_ahead_of_their_task(played: tuple[PlayedBridge, Tab]) -> None:
    """Piece by piece, and are whole when the task begins; those in the task's own frame are there, too."""
    bridge, _ = played
    await bridge.hear()
    bridge.greet()
    bridge.send_file("a", "deep/big.txt", b"0123456789" * 30_000, piece=70_000)
    bridge.send_file("a", "empty", b"", piece=1)
    bridge.say("file_chunk", "a", path="empty", offset=0, base64="", last=True)
    collect = {"globs": ["**"], "max_bytes": 1 << 20}
    bridge.say("stream_task", "a", files={"own": "own"}, commands=["ls"], collect=collect)
    bridge.say("credit", "a", bytes=1 << 20)
    end = await bridge.end_of("a")
    files = {file["path"]: file["size"] for file in end["result"]["files"]}
    assert files == {"deep/big.txt": 300_000, "empty": 0, "own": 3}
    seqs = [frame["seq"] for frame in bridge.seen if "seq" in frame]
    assert seqs == list(range(1, len(seqs) + 1))


def code_of(end: dict[str, Any]) -> str:
    """Why a task failed."""
    return str(end["error_info"]["code"])


def cost_of(frame: dict[str, Any]) -> int:
    """What a frame costs of its session's credit."""
    return len(frame.get("progress", {}).get("text", "").encode())
