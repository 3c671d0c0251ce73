"""A batch of owners' appends that share a transaction: the result of each, and what to publish of those written."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from gateway.errors import LeaseLostError
from gateway.events import TaskEvents
from gateway.state.transaction import Appended, appended
from gateway.state.values import Append
from gateway.tasks import Changed, Commit, Fence

Asked = tuple[Fence, Append]


class AppendBatch:
    """Appends in the order in which they were asked for."""

    def __init__(self, asked: Sequence[Asked], now_ms: int) -> None:
        self._all = [_appended(fence, what, now_ms) for fence, what in asked]

    @property
    def good(self) -> list[Appended]:
        """Those that can be written, if their fences hold."""
        return [one for one in self._all if isinstance(one, Appended)]

    def answers(self, written: Collection[Appended]) -> list[Fence | Exception]:
        """What to answer where these were written, and the others' fences did not hold."""
        done = set(map(id, written))
        return [_answer(one, is_written=id(one) in done) for one in self._all]


def alike(appends: Iterable[Appended]) -> Mapping[tuple[str, ...], Sequence[Appended]]:
    """By the names of the columns that they set: a statement sets the same ones in all of its rows."""
    found = defaultdict[tuple[str, ...], list[Appended]](list)
    for one in appends:
        found[tuple(sorted(one.fields))].append(one)
    return found


def told(written: Collection[Appended]) -> Commit:
    """What to publish of what was written."""
    return Commit(
        tuple([TaskEvents(one.fence.task_id, one.events) for one in written if one.events]),
        tuple([Changed(one.fence.task_id, one.fence.subject) for one in written]),
    )


def _appended(fence: Fence, what: Append, now_ms: int) -> Appended | Exception:
    try:
        return appended(fence, what, now_ms=now_ms)
    except Exception as error:  # noqa: BLE001 - it belongs to the asker, who gets it
        return error


def _answer(one: Appended | Exception, *, is_written: bool) -> Fence | Exception:
    if isinstance(one, Exception):
        return one
    return one.after if is_written else LeaseLostError(one.fence.task_id)
