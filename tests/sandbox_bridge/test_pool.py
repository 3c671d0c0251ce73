"""Which sandbox a task is given to."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from sandbox_bridge.bridge import Bridge
from sandbox_bridge.handshake import SandboxInfo
from sandbox_bridge.pool import Pool, Want
from sandbox_bridge.spec import TaskSpec
from tests.support.bridges import connected
from tests.support.fake_sandbox import FakeSandbox

pytestmark = pytest.mark.looptime


@contextlib.asynccontextmanager
async def pool_of(*rooms: int) -> AsyncIterator[tuple[Pool, list[Bridge]]]:
    """A pool of connected bridges to sandboxes that take so many sessions each."""
    pool, bridges = Pool(), []
    async with contextlib.AsyncExitStack() as stack:
        for number, room in enumerate(rooms):
            fake = await stack.enter_async_context(FakeSandbox(listen=False, max_sessions=room))
            bridge = await stack.enter_async_context(connected(fake.dial))
            bridge.address = f"sandbox-{number}"
            pool.add(bridge)
            bridges.append(bridge)
        yield pool, bridges


async def test_choose_takes_the_one_with_most_room() -> None:
    """The sandbox with the most free places is chosen, of equals the first."""
    async with pool_of(2, 5, 5) as (pool, bridges):
        assert pool.choose() is bridges[1]
        bridges[1].open("s1", TaskSpec(commands=["hang"]))
        assert pool.choose() is bridges[2]
        assert pool.free == 11


async def test_full_pool_has_none_to_choose_but_fits() -> None:
    """Where all that fit are busy there is none to choose, yet waiting makes sense."""
    async with pool_of(1) as (pool, bridges):
        bridges[0].open("s1", TaskSpec(commands=["hang"]))
        assert pool.choose() is None
        assert pool.fits()


async def test_choose_counts_places_given_away() -> None:
    """A place given away is not given again, whether its session has begun or not."""
    async with pool_of(3, 2) as (pool, bridges):
        first, second = bridges
        assert pool.choose(taken={first: 2}) is second
        assert pool.choose(taken={first: 3, second: 2}) is None
        first.open("s1", TaskSpec(commands=["hang"]))
        assert pool.choose(taken={first: 1, second: 2}) is first


async def test_removed_bridge_is_not_chosen() -> None:
    """What was taken out is neither chosen nor does it fit; the same address can come again."""
    async with pool_of(1) as (pool, bridges):
        with pytest.raises(ValueError, match="sandbox-0"):
            pool.add(bridges[0])
        pool.remove(bridges[0])
        assert pool.choose() is None
        assert not pool.fits()
        assert pool.bridges == ()
        pool.add(bridges[0])


async def test_lost_sandbox_does_not_fit() -> None:
    """Only live sandboxes count."""
    async with pool_of(1) as (pool, _):
        assert pool.fits()
    assert not pool.fits()
    assert repr(pool) == "<Pool free=0 [<Bridge sandbox-0 down: the bridge was closed>]>"


INFO = SandboxInfo(
    address="a",
    sandbox_id="s",
    boot_id="b",
    runtime="local",
    max_sessions=1,
    capabilities=frozenset({"limits", "pause"}),
    labels={"zone": "a", "gpu": "no"},
)


@pytest.mark.parametrize(
    ("want", "fits"),
    [
        (Want(), True),
        (Want(runtime="local"), True),
        (Want(runtime="webcontainer"), False),
        (Want(labels={"zone": "a"}), True),
        (Want(labels={"zone": "b"}), False),
        (Want(labels={"colour": "red"}), False),
        (Want(capabilities=frozenset({"pause"})), True),
        (Want(capabilities=frozenset({"stdin"})), False),
        (Want(extended=True), False),
        (Want(subject="alice"), True),
    ],
)
async def test_want_fits_what_offers_all_of_it(want: Want, *, fits: bool) -> None:
    """A sandbox fits that has the runtime, every label, and every capability that are wanted."""
    assert want.fits(INFO) is fits


async def test_client_sandbox_is_only_for_who_asks() -> None:
    """A client's sandbox fits no task but those of its own subject that ask for one."""
    info = SandboxInfo(
        address="a",
        sandbox_id="s",
        boot_id="b",
        runtime="local",
        max_sessions=1,
        trust="client",
        subject="alice",
    )
    assert not Want().fits(info)
    assert not Want(subject="bob").fits(info)
    assert Want(subject="alice").fits(info)
    assert not Want(subject="alice", runtime="webcontainer").fits(info)
