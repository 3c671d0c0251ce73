"""A cohort: followers that are at the same place of a task's log, and are sent the next events together.

Theory. Of a thousand followers of a task almost all have had the same events, and are ready for the next. To check and
record that for each was most of what a delivery cost besides its system call. So followers that were sent a batch form
a cohort, which keeps one cursor for all of them, and checks in a few loops of C whether they are ready. It keeps
no state of who has a queue, a full socket or a closing transport: that is checked in the turn that writes. A member
that is not ready leaves the cohort and is served by itself; if a batch does not follow the cursor, all leave.
"""

from typing import Protocol

from gateway.events import TaskEvents
from gateway.fanout.follower import Follower
from gateway.fanout.sending import send_each
from gateway.fanout.sink import LineUp, Sink, Tally


class Member(Follower, Protocol):
    """A follower that can be in a cohort."""

    def step_out(self) -> None:
        """Stand alone, at the place of its cohort; does nothing where it has none."""


class Cohort:
    """See the theory above. `cursor` is the seq of the last event that all have had."""

    __slots__ = ("_line_up", "_members", "_tally", "cursor")

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self._members: dict[Member, Sink] = {}
        self._line_up: LineUp | None = None
        self._tally = Tally()

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"<Cohort of {len(self)} at {self.cursor}>"

    def add(self, member: Member, sink: Sink) -> None:
        """It has had all up to the cursor, and is told of what follows through `sink`."""
        self._members[member] = sink
        self._line_up = None
        sink.count_by(self._tally)

    def remove(self, member: Member) -> None:
        """It is told by itself."""
        self._members.pop(member).count_by(None)
        self._line_up = None

    def take(self, batch: TaskEvents, now: float) -> list[Member]:
        """Send the batch to all, at the loop's time `now`; who is to be offered it instead, and has stepped out."""
        if batch.first_seq != self.cursor + 1 or batch.is_last:
            return self._stepped_out(list(self._members))
        wire = batch.wire
        others = self._stepped_out(self._unready(len(wire)))
        self.cursor = batch.last_seq
        self._tally.count(len(wire), now)
        if self._members:
            cut = send_each(self._lined_up().fds, wire)
            sinks = list(self._members.values()) if cut else []
            for place, taken in cut:
                sinks[place].send_rest(wire[taken:])
        return others

    def _unready(self, size: int) -> list[Member]:
        if not self._members or self._lined_up().are_ready(size):
            return []
        return [member for member, sink in self._members.items() if sink.ready(size) < 0]

    def _lined_up(self) -> LineUp:
        if self._line_up is None:
            sinks = list(self._members.values())
            self._line_up = sinks[0].line_up(sinks)
        return self._line_up

    def _stepped_out(self, members: list[Member]) -> list[Member]:
        for member in members:
            member.step_out()
        return members
