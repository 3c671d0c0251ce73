"""Who lives among the instances that share a store, and who may own what.

Theory. An instance lives while its lease does: a row that it renews, with a time on the store's clock. A lease
that is over is never renewed, only begun anew; so whoever finds it over may act on that, and nothing has to be
locked. An instance counts its lease on a clock of its own, from before it asked for it, and stops what it runs
while some of it is left: by the time that the store's clock says so, too, it has stopped. One that could not
stop, because it stood still, finds that its tasks have another owner and epoch, and nothing that it writes is taken.

An owner that is lost is waited for a little longer than its lease: its sandbox keeps a session for 8 s from the
last byte of its bridge, which may have come as late as the renewal that did not.

The functions decide and do nothing; what they are told was read in the transaction that they decide for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.tasks import TaskRecord

SPARE: Final = 0.2
"""The part of a lease that is left when its holder stops without a renewal: what stopping may take."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance: until when its lease lives (ms since 1970 UTC, the store's clock), and what it tells of itself."""

    instance: str
    lease_until: int
    about: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The instances that a store knows of, and its time."""

    now_ms: int
    instances: Sequence[Instance] = ()

    @property
    def living(self) -> list[Instance]:
        """Those whose lease lives."""
        return [one for one in self.instances if lives(one.lease_until, self.now_ms)]


@dataclass(frozen=True, slots=True)
class Standing:
    """How an instance stands to a task that it wants to decide on, by the store and its clock.

    `mine` and `owners` are until when the leases of the two instances live: None where the store knows none.
    `running` is how many tasks of the task's subject run, wherever that is.
    """

    now_ms: int
    mine: int | None = None
    owners: int | None = None
    running: int = 0


def lives(lease_until: int | None, now_ms: int) -> bool:
    """Whether a lease does."""
    return lease_until is not None and now_ms < lease_until


def may_claim(standing: Standing, *, limit: int, is_leased: bool) -> bool:
    """Whether an instance may take a task that waits: `limit` is of the subject's running ones (0: none).

    One that is not leased knows by other means that it is alone.
    """
    has_turn = not limit or standing.running < limit
    return has_turn and (not is_leased or lives(standing.mine, standing.now_ms))


def is_orphan(task: TaskRecord, standing: Standing, *, grace_ms: int) -> bool:
    """Whether the owner of a task is lost: its lease has been over for `grace_ms`, or nobody knows of it any more."""
    if task.owner is None:
        return False
    return standing.owners is None or standing.now_ms >= standing.owners + grace_ms


def stops_after_s(lease_s: float) -> float:
    """How long after a renewal was asked for its instance may go on without another."""
    return lease_s * (1 - SPARE)
