"""From the request to the claim"""

import asyncio
import contextlib
from typing import Any

from aiohttp import ClientError

from tests.crashes.stage import KEY, NO_SANDBOX, OUTSIDE, Stage, Story, crash_point
from tests.support.files import noise, tar_of
from tests.support.gateway import client
from tests.support.processes import until
from tests.support.uploads import submit_tar

ONE = "echo one"
UNANSWERED = "no answer; its socket drops"
FIRST_RUN = "pending running completed"
SECOND_RUN = "pending running pending/instance_lost running completed"


async def unanswered(stage: Stage, *, shown: bool = True) -> Story:
    """Submit, hear no answer, and no event either where none can be `shown`; how it went on."""
    seen = await stage.submits_and_dies(ONE)
    assert seen.answer is None
    assert shown or seen.frames == []
    return await stage.story(ONE)


@crash_point(
    "a submit is read, nothing is decided",
    "before gateway.work.control:Control.submit",
    on_disk="nothing",
    client=UNANSWERED,
)
async def submit_read(stage: Stage) -> None:
    """Nothing to do. The client repeats its submit with its key, and that is the first."""
    story = await unanswered(stage)
    assert (story.was_there, story.path) == (False, FIRST_RUN)


@crash_point(
    "a task is written, its transaction is not committed",
    "after gateway.state.transaction:Transaction.create_task",
    on_disk="nothing: an uncommitted transaction is none",
    client=UNANSWERED,
    quick=True,
)
async def submit_uncommitted(stage: Stage) -> None:
    """Nothing to do. The client repeats its submit with its key, and that is the first."""
    story = await unanswered(stage, shown=False)
    assert (story.was_there, story.path) == (False, FIRST_RUN)


@crash_point(
    "a task is committed, nobody was told",
    "before gateway.state.sqlite.store:SqliteStore._committed",
    only="commits the first event",
    on_disk="the task, `pending`, with seq 1",
    client=UNANSWERED,
    quick=True,
)
async def submit_committed(stage: Stage) -> None:
    """The task is run, though nobody knows of it. The client repeats its submit with its key, and finds it."""
    story = await unanswered(stage, shown=False)
    assert (story.was_there, story.path) == (True, FIRST_RUN)


@crash_point(
    "a task is announced, its submit is not answered",
    "after gateway.work.control:Control.submit",
    on_disk="the task, `pending` or already `running`",
    client=UNANSWERED,
)
async def submit_announced(stage: Stage) -> None:
    """The task is run. The client repeats its submit with its key, and finds it."""
    story = await unanswered(stage)
    assert story.was_there
    assert story.path in {FIRST_RUN, SECOND_RUN}


@crash_point(
    "a submit is answered, the task waits for a place",
    OUTSIDE,
    on_disk="the task, `pending`",
    client="its answer and seq 1, then its socket drops",
    quick=True,
)
async def submit_answered(stage: Stage) -> None:
    """The task is run once there is a place for it: what was answered is never lost."""
    async with stage.doomed(NO_SANDBOX) as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, ONE)
        await stage.sees(me, "status", status="pending")
        await gateway.kill()
        await stage.sees_the_death(me)
    story = await stage.story(ONE)
    assert (story.was_there, story.path, story.output) == (True, FIRST_RUN, "one\n")


# --- files that come with it ----------------------------------------------------------------------------------

TREE = {f"{n}.bin": noise(700_000, n) for n in range(4)}
CHECK = "sha256sum *.bin | wc -l"


async def upload_and_die(stage: Stage) -> None:
    """Send a submit with an archive to a doomed gateway."""
    async with stage.doomed() as gateway:
        with contextlib.suppress(ClientError):
            status, answer = await submit_tar(
                gateway, tar_of(TREE), input={"commands": [CHECK]}, idempotency_key=KEY
            )
            raise AssertionError(f"answered {status}: {answer}")


async def upload_again(stage: Stage) -> dict[str, Any]:
    """What the first one left goes, and the same submit makes its task; the task."""
    async with stage.again() as gateway:
        await until(
            lambda: stage.rows("file_piece") == 0, within_s=15, what="what the crash left to be swept"
        )
        status, answer = await submit_tar(
            gateway, tar_of(TREE), input={"commands": [CHECK]}, idempotency_key=KEY
        )
    assert status == 201
    task: dict[str, Any] = answer["task"]
    assert task["result"]["commands"][0]["stdout"].strip() == str(len(TREE))
    return task


@crash_point(
    "half of an upload is stored",
    "after gateway.state.sqlite.store:SqliteStore.add_files",
    on_disk="pieces of files that are nobody's",
    client="the connection is reset",
    quick=True,
)
async def upload_half(stage: Stage) -> None:
    """The start sweeps what is nobody's. The client sends it again."""
    await upload_and_die(stage)
    assert stage.rows("file_piece") > 0
    await upload_again(stage)


@crash_point(
    "an upload is whole, its task is not committed",
    "after gateway.state.transaction:Transaction.create_task",
    on_disk="all pieces, which are nobody's",
    client="the connection is reset",
)
async def upload_whole(stage: Stage) -> None:
    """The start sweeps what is nobody's. The client sends it again with its key, and that is the first."""
    await upload_and_die(stage)
    assert (stage.rows("file"), stage.rows("task")) == (len(TREE), 0)
    await upload_again(stage)


# --- the claim --------------------------------------------------------------------------------------------------


@crash_point(
    "a claim is decided, not committed",
    "after gateway.work.dispatcher:claimed",
    on_disk="the task, `pending`",
    client="its answer, or none",
)
async def claim_uncommitted(stage: Stage) -> None:
    """The task is claimed as if never before: it is its first attempt."""
    await stage.submits_and_dies(ONE)
    story = await stage.story(ONE)
    assert (story.was_there, story.path) == (True, FIRST_RUN)


@crash_point(
    "a task is claimed, no sandbox was asked",
    "before gateway.work.run:Run.execute",
    on_disk="the task, `running`, owned by the dead instance",
    client="its answer, perhaps `running`, then its socket drops",
    quick=True,
)
async def claimed(stage: Stage) -> None:
    """The lock of the data directory proves that the owner is dead: the task is put back at once, and runs again."""
    await stage.submits_and_dies(ONE)
    began = asyncio.get_running_loop().time()
    story = await stage.story(ONE)
    assert asyncio.get_running_loop().time() - began < 15
    assert (story.was_there, story.path) == (True, SECOND_RUN)


@crash_point(
    "a task runs on the only attempt it has",
    OUTSIDE,
    on_disk="the task, `running`, owned by the dead instance",
    client="`running`, then its socket drops",
)
async def last_attempt(stage: Stage) -> None:
    """It ends `failed`, `instance_lost`: it is never run more often than it was asked for."""
    given = {"max_attempts": 1}
    async with stage.doomed() as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, "echo one; sleep 60", **given)
        await stage.sees(me, "output")
        await gateway.kill()
        await stage.sees_the_death(me)
    story = await stage.story("echo one; sleep 60", **given)
    assert (story.was_there, story.path) == (True, "pending running failed")
