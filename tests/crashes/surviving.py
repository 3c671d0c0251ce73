"""Where the session outlives its gateway (`sandbox-bridge serve`)"""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.crashes.running import DROPS
from tests.crashes.stage import NO_SANDBOX, Stage, Story, crash_point
from tests.crashes.submitting import FIRST_RUN
from tests.support.gateway import client, running_gateway
from tests.support.sandbox_process import sandbox_service

LINES = "for i in 1 2 3 4; do echo $i; sleep 0.1; done"


@contextmanager
def separate_sandbox(stage: Stage) -> Iterator[None]:
    """A service that all gateways of the stage dial; however busy this machine is, they are back in time."""
    with sandbox_service(resume_s="60") as url:
        stage.options, stage.env = (NO_SANDBOX,), {"WEBSOCKET_URL": url}
        yield


async def goes_on(stage: Stage) -> None:
    """The task is gone on with in its attempt, and each line is in its log once."""
    with separate_sandbox(stage):
        await stage.submits_and_dies(LINES)
        assert await stage.story(LINES) == Story(True, FIRST_RUN, "1\n2\n3\n4\n")


@crash_point(
    "output of a separate sandbox is gathered, not written",
    "after gateway.work.journal:Journal._say",
    only="has output",
    on_disk="the log up to the event before",
    client=DROPS,
    quick=True,
)
async def output_not_written(stage: Stage) -> None:
    """The sandbox still has it, since it was not told that it is kept: same attempt, no status, no line lost."""
    await goes_on(stage)


@crash_point(
    "output of a separate sandbox is committed, the sandbox was not told",
    "before gateway.state.sqlite.store:SqliteStore._committed",
    only="commits output",
    on_disk="the log with the output, and how far it is",
    client=DROPS,
)
async def output_not_acknowledged(stage: Stage) -> None:
    """It is asked for what comes after that: same attempt, no status, no line twice."""
    await goes_on(stage)


@crash_point(
    "a separate sandbox has ended, the end is not written",
    "before gateway.work.run:Run._settle",
    on_disk="the log with all output; the task, `running`",
    client=DROPS,
)
async def end_not_written(stage: Stage) -> None:
    """The sandbox tells of the end again: it is not run a second time."""
    await goes_on(stage)


@crash_point(
    "an attempt at a separate sandbox is taken up, nothing of it is gone on with",
    "after gateway.server.ownership:take_over",
    on_disk="the task, `running`, owned by the second dead instance",
    client="refused: nobody listens yet",
)
async def taken_up_and_dead(stage: Stage) -> None:
    """The third takes it up in the same attempt."""
    with separate_sandbox(stage):
        first = running_gateway(stage.data_dir, *stage.options, env=stage.env)
        async with first as gateway, client(gateway.socket_url) as me:
            await stage.submits(me, LINES)
            await stage.sees(me, "output")
            await gateway.kill()
        await stage.dies_at_its_start()
        assert await stage.story(LINES) == Story(True, FIRST_RUN, "1\n2\n3\n4\n")
