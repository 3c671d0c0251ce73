"""Against whoever watches over a jail: the task may lose, the service and its neighbours never."""

import signal

import pytest

from tests.escapes.attacks import supervisor
from tests.escapes.range import Range
from tests.support.bare_client import client


async def test_killing_the_agent_fails_the_task_alone(attack: Range) -> None:
    """A jail whose agent dies is the task's own failure, and nobody knows its exit code."""
    outcome = await attack.outcome(supervisor.kill, supervisor.AGENT, signal.SIGKILL)
    assert (outcome.code, outcome.reason) == ("command_failed", "lost")
    assert outcome.end["error_info"]["exit_code"] is None
    await attack.neighbour_is_well()


async def test_killing_everybody_kills_only_the_jail(attack: Range) -> None:
    """`kill -9 -1` reaches what is in the jail."""
    outcome = await attack.outcome(supervisor.kill_everybody)
    assert (outcome.code, outcome.reason) == ("command_failed", "lost")
    await attack.neighbour_is_well()


async def test_stopping_everybody_does_not_stop_the_clock(attack: Range) -> None:
    """A jail in which all stand still, agent included, ends by its wall clock."""
    outcome = await attack.outcome(supervisor.stop_everybody, limits={"timeout_s": 1})
    assert (outcome.code, outcome.reason) == ("timeout", "timeout")
    assert await attack.is_left(within_s=2) == []
    await attack.neighbour_is_well()


async def test_first_process_heeds_no_signal(attack: Range) -> None:
    """The jail's first process can't be killed from inside; were it, all in there would die with it."""
    answers = await attack(supervisor.all_signals)
    assert set(answers) == {"done"}


@pytest.mark.parametrize(
    "text",
    ["\0" * 5, "o\xff\xff\xff\xff", "R\0\0\0\0", "o\0\0\x10\0" + "y" * 4096],
    ids=["nonsense", "huge", "out of turn", "flood"],
)
async def test_speaking_as_the_agent_harms_only_the_task(attack: Range, text: str) -> None:
    """Whatever is said in the agent's name, nonsense or a flood, costs at most the task and no memory."""
    before = attack.service_mib()
    await attack.outcome(supervisor.speak_as_agent, text, 20_000, limits={"timeout_s": 2})
    assert attack.service_mib() - before < 64
    await attack.neighbour_is_well()


async def test_host_takes_no_descriptors(attack: Range) -> None:
    """What is handed to the host is not taken, and a lingering socket among it delays nobody."""
    before = await attack.service_descriptors()
    await attack.outcome(supervisor.hand_out_descriptors, limits={"timeout_s": 2})
    assert await attack.is_left(within_s=2) == []
    assert await attack.service_descriptors() <= before
    await attack.neighbour_is_well()


async def test_terminal_tricks_are_only_text(attack: Range) -> None:
    """Escape sequences, NUL and what is no UTF-8 come as the text of an output, and end nothing."""
    outcome = await attack.outcome(supervisor.draw, 10)
    assert outcome.end["type"] == "task_completed"
    for text in (outcome.stdout, outcome.stderr):
        assert text.count("\x1b]0;title\x07") == text.count('{"type":"task_completed"}') == 10
        assert "\ufffd" in text


BAD_PATHS = [
    "../x",
    "/x",
    "a/../../x",
    "a//b",
    "./x",
    "a/.",
    "",
    "a\0b",
    "a" * 256,
    "a/" * 512 + "a",
    "..",
    "/etc/passwd",
]


@pytest.mark.parametrize("path", BAD_PATHS)
async def test_hostile_path_makes_no_task(attack: Range, path: str) -> None:
    """A file's path that leads anywhere but below the task's folder is refused before there is a jail."""
    async with client(attack.url) as bare:
        await bare.say("execute_task", "s", files={path: "x"}, commands=["true"])
        _, end = await bare.session("s")
    assert end["error_info"]["code"] == "bad_input"


@pytest.mark.parametrize(
    "command",
    [
        {"argv": ["/bin/echo", "x" * (1 << 17)]},
        {"argv": ["/bin/echo", *["x" * 100_000] * 30]},
        {"argv": ["/bin/echo", "a\0b"]},
        {"sh": "true", "env": {"A=B": "c"}},
        {"sh": "true", "env": {"": "c"}},
    ],
    ids=["huge argument", "huge arguments", "NUL", "= in a name", "no name"],
)
async def test_hostile_command_makes_no_task(attack: Range, command: dict[str, object]) -> None:
    """A command that the kernel would not take, or read otherwise, is refused."""
    async with client(attack.url) as bare:
        await bare.greet()
        await bare.say("execute_task", "s", commands=[command])
        _, end = await bare.session("s")
    assert end["error_info"]["code"] == "bad_input"


@pytest.mark.parametrize(
    "folder", ["/root", "/proc/1/root/root", "../../..", "/proc/1/cwd/../root", "\n", "/nowhere"]
)
async def test_folder_of_a_command_is_the_jails(attack: Range, folder: str) -> None:
    """A command's folder is looked up inside: the host's is not there, and above the root is the root."""
    async with client(attack.url) as bare:
        await bare.greet()
        await bare.say("execute_task", "s", commands=[{"sh": "ls -a", "cwd": folder}])
        _, end = await bare.session("s")
    if end["type"] == "task_completed":
        assert {"usr", "work"} <= set(end["result"]["commands"][0]["stdout"].split())
    else:
        assert end["error_info"]["code"] == "command_failed"


async def test_more_than_the_operator_allows_is_refused(attack: Range) -> None:
    """No limit can be asked above its ceiling, and no network where there is none to have."""
    asked = [{"memory_mb": 1 << 20}, {"processes": 1 << 20}, {"disk_mb": 1 << 20}, {"network": "full"}]
    async with client(attack.url) as bare:
        await bare.greet()
        for limits in asked:
            await bare.say("execute_task", "s", commands=["true"], limits=limits)
            _, end = await bare.session("s")
            assert end["error_info"]["code"] == "bad_input", limits
