"""From the claim to the last event"""

import asyncio
from http.client import HTTPException
from typing import Any, Final
from urllib.request import urlopen

from aiohttp import ClientSession

from tests.crashes.stage import OUTSIDE, Stage, crash_point
from tests.crashes.submitting import ONE, SECOND_RUN, UNANSWERED
from tests.support.gateway import client
from tests.support.waiting import eventually

DROPS = "what it was shown stays true; its socket drops"


async def runs_again(stage: Stage, *, shown: bool) -> None:
    """The task runs again; whether its client was shown output of the first attempt."""
    seen = await stage.submits_and_dies(ONE)
    assert any(event["event"] == "output" for event in seen.events) == shown
    story = await stage.story(ONE)
    assert (story.was_there, story.path, story.output) == (True, SECOND_RUN, "one\n")


@crash_point(
    "a session has begun, nothing of it is recorded",
    "before gateway.agents.sandbox:events_of",
    on_disk="the task, `running`",
    client=DROPS,
)
async def session_begun(stage: Stage) -> None:
    """The sandbox died with its gateway. The task is put back and runs again."""
    await runs_again(stage, shown=False)


@crash_point(
    "output is gathered, not written",
    "after gateway.work.journal:Journal._say",
    only="has output",
    on_disk="the log up to the event before",
    client=DROPS,
    quick=True,
)
async def output_gathered(stage: Stage) -> None:
    """What nobody was shown never was: it had no number. The task runs again."""
    await runs_again(stage, shown=False)


@crash_point(
    "output is written, its transaction is not committed",
    "after gateway.state.sqlite.writer:write_appends",
    only="appends output",
    on_disk="the log up to the event before",
    client=DROPS,
)
async def output_uncommitted(stage: Stage) -> None:
    """What nobody was shown never was; its numbers go to what comes next. The task runs again."""
    await runs_again(stage, shown=False)


@crash_point(
    "output is committed, nobody was told",
    "before gateway.state.sqlite.store:SqliteStore._committed",
    only="commits output",
    on_disk="the log with the output",
    client=DROPS,
    quick=True,
)
async def output_committed(stage: Stage) -> None:
    """Whoever comes back is shown it from the log, then the next attempt."""
    await runs_again(stage, shown=False)


@crash_point(
    "output is on its way to those who follow",
    "before gateway.fanout.hub:Hub.deliver",
    only="hands on output",
    on_disk="the log with the output",
    client=DROPS,
)
async def output_handed_on(stage: Stage) -> None:
    """Whoever comes back is shown it from the log, then the next attempt."""
    await runs_again(stage, shown=False)


@crash_point(
    "output is shown, the task goes on",
    OUTSIDE,
    on_disk="the log with the output",
    client=DROPS,
    quick=True,
)
async def output_shown(stage: Stage) -> None:
    """It keeps its numbers for ever; the next attempt's output comes after it."""
    ask = "echo asked; read line; echo got $line"
    fields = {"input": {"commands": [ask], "stdin": True}}
    async with stage.doomed() as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, **fields)
        await stage.sees(me, "output")
        await gateway.kill()
        await stage.sees_the_death(me)
    async with stage.back() as me:
        assert await stage.repeats(me, **fields)
        assert await me.ask("send_input", task_id=stage.task_id, data="it\n") == {}
        whole = await stage.ends(me)
    assert (whole.path, whole.output) == (SECOND_RUN, "asked\ngot it\n")


# --- the end ----------------------------------------------------------------------------------------------------


@crash_point(
    "the sandbox has ended, the end is not written",
    "before gateway.work.run:Run._settle",
    on_disk="the log with all output; the task, `running`",
    client=DROPS,
    quick=True,
)
async def end_not_written(stage: Stage) -> None:
    """Nobody knows how it ended: the task runs again, also one that had failed by itself."""
    seen = await stage.submits_and_dies("echo one; exit 3")
    assert seen.path == "pending running"
    story = await stage.story("echo one; exit 3")
    assert (story.path, story.output) == ("pending running pending/instance_lost running failed", "one\n")


@crash_point(
    "the end is decided, not committed",
    "after gateway.work.run:completed",
    on_disk="the log with all output; the task, `running`",
    client=DROPS,
)
async def end_uncommitted(stage: Stage) -> None:
    """Nobody was told of the end: the task runs again, and has one end."""
    seen = await stage.submits_and_dies(ONE)
    assert "completed" not in seen.path
    assert (await stage.story(ONE)).path == SECOND_RUN


@crash_point(
    "the end is committed, nobody was told",
    "before gateway.state.sqlite.store:SqliteStore._committed",
    only="commits the last event",
    on_disk="the whole log, the result",
    client=DROPS,
    quick=True,
)
async def end_committed(stage: Stage) -> None:
    """It is not run again. Whoever comes back is shown its end."""
    seen = await stage.submits_and_dies(ONE)
    assert "completed" not in seen.path
    story = await stage.story(ONE)
    assert (story.was_there, story.path, story.output) == (True, "pending running completed", "one\n")


@crash_point(
    "a task has ended, its blocking submit is not answered",
    "after gateway.sessions.commands:ended",
    on_disk="the whole log, the result",
    client=UNANSWERED,
    quick=True,
)
async def blocking_not_answered(stage: Stage) -> None:
    """The submit is repeated with its key, and answered at once with the result that there is."""
    seen = await stage.submits_and_dies(ONE, mode="blocking")
    assert seen.answer is None
    async with stage.back() as me:
        given = {"input": {"commands": [ONE]}, "idempotency_key": "the key", "mode": "blocking"}
        answer = await me.ask("submit_task", **given)
    assert answer["replayed"]
    assert (answer["task"]["status"], answer["task"]["attempt"]) == ("completed", 1)
    assert answer["task"]["result"]["commands"][0]["stdout"] == "one\n"


# --- what a run leaves ------------------------------------------------------------------------------------------

GIVES = {
    "commands": ["for n in 1 2 3; do head -c 500000 /dev/urandom > $n.bin; done"],
    "collect": {"globs": ["*.bin"]},
}


async def gives_files_again(stage: Stage) -> None:
    """After the crash the files are those of the attempt that ended, and no others are kept."""
    async with stage.again() as gateway, client(gateway.socket_url) as me:
        assert await stage.repeats(me, input=GIVES)
        whole = await stage.ends(me)
        assert whole.path == SECOND_RUN
        listed = whole.events[-1]["data"]["result"]["files"]
        assert [(file["path"], file["size"]) for file in listed] == [(f"{n}.bin", 500_000) for n in (1, 2, 3)]
        address = f"{gateway.url}/v1/tasks/{stage.task_id}/files/2.bin"
        async with ClientSession() as http, http.get(address) as response:
            assert (response.status, len(await response.read())) == (200, 500_000)

        async def is_swept() -> bool:
            return stage.rows("file_set") == 1

    async with stage.again():
        await eventually(is_swept, 15)


@crash_point(
    "half of the files that a task gives back are stored",
    "after gateway.state.sqlite.store:SqliteStore.add_files",
    only="of a run",
    on_disk="a set of files of that attempt, not whole",
    client=DROPS,
)
async def collected_half(stage: Stage) -> None:
    """The task runs again; the next attempt's first file lets go of the set, which is swept."""
    await stage.submits_and_dies(input=GIVES)
    assert stage.rows("file_set") == 1
    await gives_files_again(stage)


@crash_point(
    "all files of a task are stored, its end is not",
    "before gateway.work.run:Run._settle",
    on_disk="a set of files of that attempt, whole",
    client=DROPS,
)
async def collected_whole(stage: Stage) -> None:
    """The task runs again; the next attempt's first file lets go of the set, which is swept."""
    await stage.submits_and_dies(input=GIVES)
    assert stage.rows("file") == 3
    await gives_files_again(stage)


SITE: Final[dict[str, Any]] = {"files": {"index.html": "<h1>Hello</h1>"}, "commands": ["serve"]}


@crash_point(
    "a site is stored, nobody was told of it",
    "after gateway.state.sqlite.store:SqliteStore.add_site",
    on_disk="the site's row; the task, `running`",
    client=DROPS,
)
async def site_not_told_of(stage: Stage) -> None:
    """The site died with its sandbox. The task runs again and puts up another; the row goes with the task."""
    await stage.submits_and_dies(input=SITE)
    assert stage.rows("site") == 1
    async with stage.back() as me:
        assert await stage.repeats(me, input=SITE)
        whole = await stage.ends(me)
        url = whole.events[-1]["data"]["result"]["url"]
        assert await asyncio.to_thread(read, url) == SITE["files"]["index.html"]
        assert await me.ask("delete_task", task_id=stage.task_id) == {}

        async def is_closed() -> bool:
            return stage.rows("site") == 0

        await eventually(is_closed, 20)
    assert whole.path == SECOND_RUN


@crash_point(
    "a task has ended, its site is up",
    OUTSIDE,
    on_disk="the whole log, the site's row",
    client="the end, then the site is gone",
)
async def site_up(stage: Stage) -> None:
    """The task has ended and stays so; the site is gone, since it lived in the sandbox that died."""
    async with stage.doomed() as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, input=SITE)
        url = (await stage.sees(me, "status", status="completed"))["data"]["result"]["url"]
        assert await asyncio.to_thread(read, url) == SITE["files"]["index.html"]
    story = await stage.story(input=SITE)
    assert story.path == "pending running completed"
    try:
        raise AssertionError(await asyncio.to_thread(read, url))
    except (OSError, HTTPException):
        pass


def read(url: str) -> str:
    """A page."""
    with urlopen(url, timeout=10) as page:  # noqa: S310 - a site of our own
        text: str = page.read().decode()
        return text
