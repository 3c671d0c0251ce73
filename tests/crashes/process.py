"""Starting, taking over, draining"""

import os
import signal
from typing import Any

from tests.crashes.stage import NO_SANDBOX, Stage, crash_point
from tests.crashes.submitting import FIRST_RUN, ONE, SECOND_RUN
from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.history import check_one


async def starts_whole(stage: Stage) -> None:
    """Die at the first start; the next one is as the first would have been."""
    await stage.dies_at_its_start()
    story = await stage.story(ONE)
    assert (story.was_there, story.path) == (False, FIRST_RUN)


@crash_point(
    "a migration is under way",
    "statement CREATE TABLE file_piece",
    on_disk="the schema before it: a migration is a transaction",
    client="refused: nobody listens yet",
    quick=True,
)
async def in_a_migration(stage: Stage) -> None:
    """The start does the migration from its beginning."""
    await starts_whole(stage)


@crash_point(
    "some migrations are done, others are not",
    "before pathlib:Path.read_text",
    only="third migration",
    on_disk="a schema of an earlier version",
    client="refused: nobody listens yet",
)
async def between_migrations(stage: Stage) -> None:
    """The start does the rest."""
    await starts_whole(stage)


# --- taking over --------------------------------------------------------------------------------------------------


async def three_running(stage: Stage) -> list[str]:
    """Three tasks that run when their gateway is killed."""
    async with running_gateway(stage.data_dir) as gateway, client(gateway.socket_url) as me:
        task_ids = [await me.submit("echo begun; sleep 0.5; echo over") for _ in range(3)]
        for task_id in task_ids:
            await me.until_event(task_id, "output")
        await gateway.kill()
    return task_ids


async def all_end_once(stage: Stage, task_ids: list[str]) -> None:
    """Each is taken over once, whatever became of the first try."""
    async with stage.back() as me:
        for task_id in task_ids:
            assert "task" in await me.ask("subscribe", task_id=task_id)
        for task_id in task_ids:
            events = await me.until_ended(task_id)
            check_one(me.frames[task_id])
            assert (events[-1]["data"]["status"], events[-1]["data"]["attempt"]) == ("completed", 2)


async def three_end_once(stage: Stage) -> None:
    """Die at the start that is to take three tasks over; the next one does."""
    task_ids = await three_running(stage)
    await stage.dies_at_its_start()
    await all_end_once(stage, task_ids)


@crash_point(
    "some orphans are taken up, others are not",
    "after gateway.work.recovery:lost",
    nth=2,
    on_disk="one task `pending`, `instance_lost`; the others `running`, owned by the first dead instance",
    client="refused: nobody listens yet",
    quick=True,
)
async def in_the_takeover(stage: Stage) -> None:
    """The next start takes the others up; to be taken up costs an attempt once, to wait costs none."""
    await three_end_once(stage)


@crash_point(
    "all orphans are taken up, nothing is claimed",
    "after gateway.work.recovery:take_orphans",
    on_disk="the tasks, `pending`, `instance_lost`",
    client="refused: nobody listens yet",
)
async def after_the_takeover(stage: Stage) -> None:
    """They are claimed as any other that waits."""
    await three_end_once(stage)


@crash_point(
    "the socket listens, the start is not over",
    "before gateway.server.app:first_tried",
    on_disk="what was there before",
    client="its connection drops, if it had one",
)
async def listening(stage: Stage) -> None:
    """Nothing to do: who came early was answered only for what is on disk."""
    await starts_whole(stage)


# --- draining -----------------------------------------------------------------------------------------------------

SLEEPS = "echo begun; sleep 0.7; echo over"


async def drains_and_dies(stage: Stage, **fields: Any) -> None:
    """Have a gateway with a running task drain without time to spare; it dies of it."""
    async with stage.doomed(env={"GATEWAY_DRAIN_S": "0"}) as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, SLEEPS, **fields)
        await stage.sees(me, "output")
        terminate(gateway)
        await stage.sees_the_death(me)


def terminate(gateway: GatewayProcess) -> None:
    """Ask it to end."""
    os.kill(gateway.pid, signal.SIGTERM)


@crash_point(
    "a drain gives a task back, not committed",
    "after gateway.work.run:lost",
    on_disk="the task, `running`, owned by the dead instance",
    client="its socket drops without a goodbye",
)
async def drain_uncommitted(stage: Stage) -> None:
    """It was a crash after all: the task is put back as `instance_lost`, and this attempt counts."""
    await drains_and_dies(stage)
    assert (await stage.story(SLEEPS)).path == SECOND_RUN


@crash_point(
    "a drain has given all tasks back, nobody was told goodbye",
    "before gateway.sessions.endpoint:Endpoint.send_off",
    on_disk="the task, `pending`, `drain`",
    client="`pending` with reason `drain`, perhaps; its socket drops without a goodbye",
    quick=True,
)
async def drained(stage: Stage) -> None:
    """The task runs again; the attempt that the drain cost does not count."""
    await drains_and_dies(stage, max_attempts=1)
    story = await stage.story(SLEEPS, max_attempts=1)
    assert story.path == "pending running pending/drain running completed"


@crash_point(
    "everybody was told goodbye, the store is open",
    "before gateway.state.sqlite.store:SqliteStore.aclose",
    on_disk="all; the write-ahead log is not folded in",
    client="`goodbye`, its socket closes",
)
async def store_open(stage: Stage) -> None:
    """SQLite reads its write-ahead log, as after every crash."""
    async with stage.doomed(NO_SANDBOX) as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, ONE)
        await stage.sees(me, "status", status="pending")
        terminate(gateway)
        await stage.sees_the_death(me)
        assert me.goodbye is not None
    story = await stage.story(ONE)
    assert (story.was_there, story.path) == (True, FIRST_RUN)
