"""How many tasks a subject may have, how fast they may come, and how much of them may be stored."""

from collections import defaultdict
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.errors import GatewayError
from gateway.settings import Settings
from gateway.state.values import Usage
from gateway.work.admission import LOOK_S, MANY, Admission

MINE = "alice"


class Instance:
    """Admission on a clock of its own, where `stored` says what is in the store."""

    def __init__(self, **limits: Any) -> None:
        self.now = 0.0
        self.looks = 0
        self.stored = defaultdict[str, Usage](lambda: Usage(0, 0))
        settings = Settings(_env_file=None, auth="jwt", jwt_secret=SecretStr("s" * 32), **limits)
        self.admission = Admission(self.usage, settings, lambda: self.now)

    async def usage(self, subject: str) -> Usage:
        """See `StateStore.usage`."""
        self.looks += 1
        return self.stored[subject]

    async def let_in(self, wanted: int, subject: str = MINE) -> tuple[int, GatewayError | None]:
        """How many of so many are let in, and why the next was not."""
        for n in range(wanted):
            try:
                await self.admission.admit(subject)
            except GatewayError as refusal:
                return n, refusal
        return wanted, None


async def test_submits_have_a_rate() -> None:
    """Over all connections of a subject; it is told when to come again, and others have their own."""
    instance = Instance(submits_per_s=10, submit_burst=20)
    count, refusal = await instance.let_in(100)
    assert count == 20
    assert refusal is not None
    assert (refusal.code, refusal.details["retry_after_ms"]) == ("rate_limited", 101)
    assert await instance.let_in(5, "bob") == (5, None)
    instance.now += 1
    assert (await instance.let_in(100))[0] == 10


async def test_queue_has_an_end() -> None:
    """What the store says waits counts, and what was let in since it was asked; it is asked once a second at most."""
    instance = Instance(max_queued_per_subject=10)
    instance.stored[MINE] = Usage(7, 0)
    count, refusal = await instance.let_in(100)
    assert (count, instance.looks) == (3, 1)
    assert refusal is not None
    assert (refusal.code, refusal.kind.retryable, refusal.details["retry_after_ms"]) == (
        "overloaded",
        True,
        5000,
    )
    instance.stored[MINE] = Usage(9, 0)  # all that was let in is there, and one runs
    instance.now += LOOK_S
    assert ((await instance.let_in(100))[0], instance.looks) == (1, 2)
    assert await instance.let_in(5, "bob") == (5, None)


async def test_stored_bytes_have_an_end() -> None:
    """Who has so much stored is told to delete some, before anything of the next is taken."""
    instance = Instance(max_stored_bytes_per_subject=1000)
    instance.stored[MINE] = Usage(0, 1000)
    with pytest.raises(GatewayError, match="1000 bytes of your tasks and workflows are stored") as refused:
        await instance.admission.check_room(MINE)
    assert refused.value.code == "overloaded"
    assert await instance.let_in(1, "bob") == (1, None)
    instance.stored[MINE] = Usage(0, 999)
    instance.now += LOOK_S
    assert await instance.let_in(5) == (5, None)


async def test_limits_can_be_turned_off() -> None:
    """0 is none of them, and then nothing is asked of the store."""
    instance = Instance(max_queued_per_subject=0, max_stored_bytes_per_subject=0, submits_per_s=0)
    assert await instance.let_in(5000) == (5000, None)
    assert instance.looks == 0


async def test_subjects_that_do_nothing_are_forgotten() -> None:
    """However many there were; who submits too fast is not among them."""
    instance = Instance(submits_per_s=1, submit_burst=1)
    for n in range(5 * MANY):
        instance.now += 0.1
        await instance.let_in(1, f"once {n}")
    assert int(repr(instance.admission).split()[2]) <= MANY
    assert (await instance.let_in(5, f"once {5 * MANY - 1}"))[0] == 0
