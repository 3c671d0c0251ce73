"""After a crash: whoever holds the data directory's lock alone knows that the former owner is dead."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.state.base import StateStore
from gateway.tasks import Change, TaskRecord, lost, taken_over
from gateway.work.dispatcher import Dispatcher


async def take_orphans(
    store: StateStore,
    clock: Clock,
    *,
    log: FilteringBoundLogger,
    owner: str = "",
    goes_on: Callable[[TaskRecord], bool] = lambda _task: False,
) -> list[TaskRecord]:
    """Take every owned task over: those that `owner` goes on with, which are returned, in the attempt they are in.

    The others are put back, their place lost, or end where that was their last attempt. Only for an instance
    that knows that no other lives.
    """

    def decide(task: TaskRecord) -> Change:
        if task.owner is None:
            return Change()
        if goes_on(task):
            return taken_over(task, owner=owner)
        return lost(task, "instance_lost", now_ms=clock.now_ms())

    orphans = await store.owned_tasks()
    found: list[TaskRecord] = []
    for orphan in orphans:
        after = await store.change_task(orphan.task_id, decide)
        log.info("orphan taken up", task_id=orphan.task_id, owner=orphan.owner, status=str(after.status))
        if after.owner == owner:
            found.append(after)
    return found


async def take_over(
    store: StateStore, clock: Clock, dispatcher: Dispatcher, *, log: FilteringBoundLogger
) -> None:
    """Take over what the dead have owned; `dispatcher` goes on with what it can."""
    owner, goes_on = dispatcher.instance, dispatcher.can_take_up
    dispatcher.take_up(await take_orphans(store, clock, owner=owner, goes_on=goes_on, log=log))
