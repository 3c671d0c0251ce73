"""Forgetting: deleted tasks, files that are nobody's, logs whose time is over"""

import json

from tests.crashes.stage import Stage, crash_point
from tests.crashes.submitting import ONE
from tests.support.files import tar_of
from tests.support.gateway import client, running_gateway
from tests.support.history import check_one
from tests.support.processes import until
from tests.support.uploads import submit_tar

MANY = {f"{n}": b"x" for n in range(130)}
"""More files than one transaction drops."""


async def with_files(stage: Stage) -> str:
    """A task that has ended, with files; its id."""
    async with running_gateway(stage.data_dir) as gateway:
        status, answer = await submit_tar(gateway, tar_of(MANY), input={"commands": [ONE]})
        assert status == 201
    task_id: str = answer["task"]["task_id"]
    return task_id


async def deletes(stage: Stage, task_id: str) -> bool:
    """Have a doomed gateway delete it; whether it was answered."""
    async with stage.doomed("--no-local-sandbox") as gateway, client(gateway.socket_url) as me:
        await me.send("delete_task", task_id=task_id)
        return any(answer["type"] == "result" for answer in await stage.sees_the_death(me))


@crash_point(
    "a task is deleted, its transaction is not committed",
    "after gateway.state.transaction:Transaction.delete_some",
    on_disk="the task, whole",
    client="no answer; its socket drops",
)
async def delete_uncommitted(stage: Stage) -> None:
    """Nothing of it is missing. The client deletes it again."""
    task_id = await with_files(stage)
    assert not await deletes(stage, task_id)
    async with stage.back("--no-local-sandbox") as me:
        await me.ask("subscribe", task_id=task_id)
        await me.until_ended(task_id)
        check_one(me.frames[task_id])
        described = (await me.ask("get_task", task_id=task_id, include_input=True))["task"]
        assert len(described["input_files"]) == len(MANY)
        assert await me.ask("delete_task", task_id=task_id) == {}


@crash_point(
    "a task is deleted, its files are there",
    "after gateway.state.sqlite.store:SqliteStore.delete_task",
    on_disk="its files, which are nobody's",
    client="no answer; its socket drops",
)
async def delete_committed(stage: Stage) -> None:
    """The start sweeps what is nobody's. The client deletes it again, and it is not found."""
    task_id = await with_files(stage)
    assert not await deletes(stage, task_id)
    assert (stage.rows("task"), stage.rows("file")) == (0, len(MANY))
    async with stage.back("--no-local-sandbox") as me:
        assert (await me.ask("delete_task", task_id=task_id))["code"] == "task_not_found"
        await until(lambda: stage.rows("file_set") == 0, within_s=15, what="its files to be swept")


@crash_point(
    "half of the files that are nobody's are dropped",
    "before gateway.state.transaction:Transaction.drop_some_files",
    nth=2,
    on_disk="the other half",
    client="nobody asked for them",
)
async def half_swept(stage: Stage) -> None:
    """The start sweeps the rest."""
    task_id = await with_files(stage)
    async with (
        running_gateway(stage.data_dir, "--no-local-sandbox") as gateway,
        client(gateway.socket_url) as me,
    ):
        assert await me.ask("delete_task", task_id=task_id) == {}
    async with stage.doomed("--no-local-sandbox"):
        pass
    assert 0 < stage.rows("file_piece") < len(MANY)
    async with stage.again("--no-local-sandbox"):
        await until(lambda: stage.rows("file_set") == 0, within_s=15, what="the rest to be swept")
        assert (stage.rows("file_piece"), stage.rows("file")) == (0, 0)


async def with_long_log(stage: Stage) -> tuple[str, list[str]]:
    """A task that has ended, with more events than one transaction takes; its id and its frames."""
    async with running_gateway(stage.data_dir) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit(*["true"] * 300)
        await me.until_ended(task_id)
    assert len(me.frames[task_id]) > 600
    return task_id, me.frames[task_id]


@crash_point(
    "half of a large task is deleted",
    "before gateway.state.transaction:Transaction.delete_some",
    nth=2,
    on_disk="the task, with the end of its log",
    client="no answer; its socket drops",
)
async def half_deleted(stage: Stage) -> None:
    """The task is there, its log begins later, and says so. The client deletes it again, and the rest goes."""
    task_id, frames = await with_long_log(stage)
    assert not await deletes(stage, task_id)
    async with stage.back("--no-local-sandbox") as me:
        answer = await me.ask("subscribe", task_id=task_id)
        assert (answer["recovered"], answer["first_seq"]) == (False, 501)
        await me.until_ended(task_id)
        assert me.frames[task_id] == frames[500:]
        assert await me.ask("delete_task", task_id=task_id) == {}
        assert (await me.ask("get_task", task_id=task_id))["code"] == "task_not_found"
    assert (stage.rows("event"), stage.rows("task")) == (0, 0)


@crash_point(
    "half of a log is trimmed",
    "before gateway.state.transaction:Transaction.retain",
    nth=2,
    on_disk="the other half, and where it begins",
    client="nobody asked for it",
)
async def half_trimmed(stage: Stage) -> None:
    """A reader is told where the log begins, and misses nothing from there; the next sweep goes on."""
    task_id, frames = await with_long_log(stage)
    async with stage.doomed("--no-local-sandbox", env={"GATEWAY_RETENTION_S": "0"}):
        pass
    async with stage.back("--no-local-sandbox") as me:
        answer = await me.ask("subscribe", task_id=task_id)
        assert (answer["recovered"], answer["first_seq"]) == (False, 501)
        await me.until_ended(task_id)
        assert me.frames[task_id] == frames[500:]
    env = {"GATEWAY_RETENTION_S": "0"}
    async with stage.back("--no-local-sandbox", env=env) as me:
        await until(lambda: stage.rows("event") == 1, within_s=15, what="the rest to be trimmed")
        await me.ask("subscribe", task_id=task_id)
        assert await me.until_ended(task_id) == [json.loads(frames[-1])]
