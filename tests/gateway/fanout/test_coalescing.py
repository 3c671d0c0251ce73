"""Events of one task that come quickly one after another, on their way to many followers."""

import asyncio

import pytest

from gateway.events import JOINED_BYTES, Draft, TaskEvents, number
from gateway.fanout.coalescing import FOLLOWER_S, LEAST_S, MOST_S, Coalescer
from tests.support.records import NOW_MS, output
from tests.support.waiting import let_pass

pytestmark = pytest.mark.looptime
MANY = 1000
PAUSE_S = FOLLOWER_S * MANY


class Place:
    """A coalescer whose tasks have `followers`; `told` is what came out of it: when, of which task, which seqs."""

    def __init__(self, followers: int = MANY) -> None:
        self.told: list[tuple[float, str, list[int]]] = []
        self.coalescer = Coalescer(self._note)
        self._followers = followers
        self._began = asyncio.get_running_loop().time()

    def _note(self, batch: TaskEvents) -> int:
        passed = asyncio.get_running_loop().time() - self._began
        self.told.append((round(passed, 6), batch.task_id, [event.seq for event in batch.events]))
        return self._followers

    def take(self, first: int, draft: Draft | None = None, *, task_id: str = "t1") -> None:
        """One event comes."""
        draft = draft or output("x")
        events = number(task_id, [draft], after_seq=first - 1, now_ms=NOW_MS)
        self.coalescer.take(TaskEvents(task_id, events))


async def test_event_of_a_quiet_task_goes_at_once() -> None:
    """Whoever watches a task that says something now and then sees it as it is said."""
    place = Place()
    place.take(1)
    assert place.told == [(0, "t1", [1])]
    await let_pass(MOST_S)
    place.take(2)
    assert place.told[1:] == [(MOST_S, "t1", [2])]


async def test_what_comes_in_the_pause_goes_together_at_its_end() -> None:
    """A thousand followers cost one write each, however much was said meanwhile; then there is a pause again."""
    place = Place()
    for seq in (1, 2, 3):
        place.take(seq)
    await let_pass(PAUSE_S)
    place.take(4)
    await let_pass(PAUSE_S)
    assert place.told == [(0, "t1", [1]), (PAUSE_S, "t1", [2, 3]), (2 * PAUSE_S, "t1", [4])]


async def test_few_followers_wait_for_nothing() -> None:
    """A pause that is shorter than a turn of the loop is none."""
    place = Place(followers=int(LEAST_S / FOLLOWER_S))
    place.take(1)
    place.take(2)
    assert place.told == [(0, "t1", [1]), (0, "t1", [2])]


async def test_nobody_waits_longer_than_the_longest_pause() -> None:
    """However many follow a task."""
    place = Place(followers=1_000_000)
    place.take(1)
    place.take(2)
    await let_pass(MOST_S)
    assert place.told[1:] == [(MOST_S, "t1", [2])]


@pytest.mark.parametrize("kind", ["status", "command", "checkpoint", "server_ready", "input_requested"])
async def test_what_says_how_a_task_stands_takes_along_what_waits(kind: str) -> None:
    """It goes at once, and in the order of the log."""
    place = Place()
    place.take(1)
    place.take(2)
    place.take(3, Draft(kind, {}))
    assert place.told == [(0, "t1", [1]), (0, "t1", [2, 3])]
    place.take(4)
    await let_pass(PAUSE_S)
    assert place.told[2:] == [(PAUSE_S, "t1", [4])]


async def test_tasks_do_not_wait_for_each_other() -> None:
    """Another task's event goes at once, whatever waits."""
    place = Place()
    place.take(1)
    place.take(2)
    place.take(1, task_id="t2")
    assert place.told == [(0, "t1", [1]), (0, "t2", [1])]


async def test_what_does_not_follow_is_not_joined() -> None:
    """A bus may lose a message or say one twice: a batch is always of consecutive events."""
    place = Place()
    place.take(1)
    place.take(2)
    place.take(5)
    place.take(5)
    await let_pass(PAUSE_S)
    assert [seqs for _, _, seqs in place.told] == [[1], [2], [5], [5]]


async def test_no_more_waits_than_a_client_has_room_for() -> None:
    """Else all of them would have to read it from the log."""
    place = Place()
    text = output("x" * (JOINED_BYTES // 2))
    for seq in (1, 2, 3):
        place.take(seq, text)
    assert place.told == [(0, "t1", [1]), (0, "t1", [2, 3])]


async def test_nothing_is_kept_of_a_task_that_has_become_quiet() -> None:
    """Tasks come and go."""
    place = Place()
    place.take(1)
    await let_pass(PAUSE_S)
    assert repr(place.coalescer) == "<Coalescer, 0 tasks in their pause>"
