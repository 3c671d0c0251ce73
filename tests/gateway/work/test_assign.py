"""Who runs next: the order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.tasks import TaskRecord
from gateway.work.dispatcher import assign
from tests.support.records import deterministic, record

SUBJECTS = st.sampled_from(["a", "b", "c", "d"])
WAITING = st.lists(SUBJECTS, max_size=24).map(
    lambda subjects: [record(subject=subject, task_id=f"{n:03}") for n, subject in enumerate(subjects)]
)
RUNNING = st.dictionaries(SUBJECTS, st.integers(0, 5)).map(Counter)


@given(WAITING, RUNNING, st.integers(0, 4), SUBJECTS)
@deterministic
def test_assign_keeps_to_each_subjects_limit(
    waiting: list[TaskRecord], running: Counter[str], limit: int, last: str
) -> None:
    """Nobody gets more than the limit running, and everybody as much as it leaves; 0 is no limit."""
    order = assign(waiting, running, limit=limit, last=last)
    for subject, count in Counter(task.subject for task in waiting).items():
        given_out = [task for task in order if task.subject == subject]
        room = max(limit - running[subject], 0) if limit else count
        assert len(given_out) == min(count, room)
        # Of a subject's own the first ones, in its own order.
        assert given_out == [task for task in waiting if task.subject == subject][: len(given_out)]


@given(WAITING, RUNNING, st.integers(0, 4), SUBJECTS)
@deterministic
def test_assign_lets_subjects_take_turns(
    waiting: list[TaskRecord], running: Counter[str], limit: int, last: str
) -> None:
    """No subject is a task ahead of one that has more to come; the turn goes on after `last`."""
    order = assign(waiting, running, limit=limit, last=last)
    totals = Counter(task.subject for task in order)
    for cut in range(len(order)):
        had = Counter(task.subject for task in order[:cut])
        assert all(
            had[subject] >= min(totals[subject], max(had.values(), default=1) - 1) for subject in totals
        )
    first_round = [task.subject for task in order[: len(totals)]]
    assert first_round == sorted(totals, key=lambda subject: (subject <= last, subject))
