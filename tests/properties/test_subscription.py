"""A subscription against every order in which a bus, a slow log and a full client may meet.

The machine commits events, delivers, loses and repeats their batches, takes room away and gives it back, and
lets any of that happen while a page of the log is read. Mutants of each rule show that it would notice.
"""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.events import Draft, Event, TaskEvents, number
from gateway.fanout.cohort import Cohort
from gateway.fanout.replay import Subscription
from gateway.state.values import Page
from tests.support.records import NOW_MS, deterministic, output
from tests.support.sinks import NOWHERE, Socketless

TASK = "t1"
AMPLE = 1 << 30


class BoundedSink(Socketless):
    """A client that keeps all it was sent, and has as much room as the machine says."""

    def __init__(self) -> None:
        self.got: list[Event] = []
        self.space = AMPLE

    def room(self) -> int:
        """See `Sink.room`."""
        return self.space

    def take(self, batch: TaskEvents) -> bool:
        """See `Sink.take`."""
        fits = len(batch.wire) <= self.room()
        if fits:
            self.send_events(batch)
        return fits

    def lend(self, size: int) -> int:
        """See `Sink.lend`."""
        if size > self.space:
            return -1
        self.space -= size
        return NOWHERE

    def send_events(self, batch: TaskEvents) -> None:
        """Take a batch; one that is larger than the room must be a single event, from the log."""
        assert batch.events
        assert len(batch.wire) <= self.space or len(batch.events) == 1
        self.space -= len(batch.wire)
        self.got.extend(batch.events)

    async def wait_room(self) -> None:
        """The machine waits in its own way."""


class SubscriptionMachine(RuleBasedStateMachine):
    """One log, one subscription, and a feeder that is taken apart into its steps."""

    subscription_type = Subscription

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Event] = []
        self.sink = BoundedSink()
        self.on_the_way: list[TaskEvents] = []
        self.published: list[TaskEvents] = []
        self.some_lost = False
        self.behind = True
        self.page: Page | None = None
        self.ends = 0

    @initialize(
        before=st.integers(0, 6), after_seq=st.integers(0, 6), between=st.integers(0, 2), data=st.data()
    )
    def subscribe(self, before: int, after_seq: int, between: int, data: st.DataObject) -> None:
        """Join a log that has some events already, somewhere in it; more may be committed as its row is read."""
        over = before > 0 and not between and data.draw(st.booleans())
        self._commit(before, final=over)
        self.on_the_way.clear()
        head = len(self.log)
        self.after_seq = min(after_seq, before)
        self.subscription = self.subscription_type(
            TASK, self.after_seq, self.sink, on_behind=self._fell_behind, on_end=self._ended
        )
        self._commit(between, final=False)
        known = data.draw(st.sampled_from([None, None, head, len(self.log)]))
        if known is not None:
            self.behind = False
            self.subscription.begin(known, complete=over, feed=self._fell_behind)

    def _fell_behind(self, _subscription: Subscription) -> None:
        self.behind = True

    def _ended(self, _subscription: Subscription) -> None:
        self.ends += 1

    # --- what the owner and the bus do ---

    @precondition(lambda self: not self._over())
    @rule(count=st.integers(1, 5), final=st.booleans())
    def commit(self, count: int, final: bool) -> None:
        """The owner appends; what it appended is on its way."""
        self._commit(count, final=final)

    @precondition(lambda self: self.on_the_way)
    @rule(straight=st.booleans())
    def deliver(self, straight: bool) -> None:
        """The oldest batch on its way arrives, by itself or in a broadcast."""
        self._arrive(self.on_the_way.pop(0), straight=straight)

    @precondition(lambda self: self.on_the_way)
    @rule()
    def lose(self) -> None:
        """The oldest batch on its way never arrives."""
        self.on_the_way.pop(0)
        self.some_lost = True

    @precondition(lambda self: len(self.published) > len(self.on_the_way))
    @rule(data=st.data(), straight=st.booleans())
    def repeat(self, data: st.DataObject, straight: bool) -> None:
        """A batch that had its time arrives (again)."""
        past = self.published[: len(self.published) - len(self.on_the_way)]
        self._arrive(data.draw(st.sampled_from(past)), straight=straight)

    @rule(back=st.integers(0, 3))
    def hear_of_the_head(self, back: int) -> None:
        """The bus says how far the log goes, or went."""
        self.subscription.catch_up(max(len(self.log) - back, 0))

    # --- what the client and the feeder do ---

    @rule(space=st.one_of(st.integers(0, 700), st.just(AMPLE)))
    def read_on(self, space: int) -> None:
        """The client's room changes."""
        self.sink.space = space

    @precondition(lambda self: self.behind and self.page is None)
    @rule(events=st.integers(1, 4))
    def begin_read(self, events: int) -> None:
        """The feeder reads the log; the page is as of now, and arrives later."""
        self._begin_read(events)

    @precondition(lambda self: self.page is not None)
    @rule()
    def finish_read(self) -> None:
        """The page arrives; whatever came in between came before it."""
        self._finish_read()

    # --- what always holds ---

    @invariant()
    def sink_has_a_stretch_of_the_log(self) -> None:
        """What was handed on begins after `after_seq` and has no gap, no repeat, no other order."""
        assert self.sink.got == self.log[self.after_seq : self.after_seq + len(self.sink.got)]
        assert (self.subscription.cohort or self.subscription).cursor == self.after_seq + len(self.sink.got)

    @invariant()
    def it_ends_once_and_only_at_the_end(self) -> None:
        """`on_end` is called once, when the last event has been handed on."""
        assert self.ends == int(self.subscription.closed)
        assert not self.ends or (self._over() and len(self.sink.got) == len(self.log) - self.after_seq)

    @invariant()
    def somebody_feeds_who_is_behind(self) -> None:
        """A subscription that takes no batches has a feeder."""
        subscription = self.subscription
        takes = subscription.live or subscription.cohort is not None
        assert takes or subscription.closed or self.behind or self.page is not None

    def teardown(self) -> None:
        """When all is quiet the client has everything; a lost batch is made good by any later one."""
        if not hasattr(self, "subscription"):
            return
        for batch in self.on_the_way:
            self.subscription.offer(batch)
        if self.some_lost:
            self.subscription.offer(self.published[-1])
        for _ in range(2 * len(self.log) + 3):
            self.sink.space = AMPLE
            if self.page is not None:
                self._finish_read()
            if self.behind:
                self._begin_read(3)
        self.sink_has_a_stretch_of_the_log()
        self.it_ends_once_and_only_at_the_end()
        assert len(self.sink.got) == len(self.log) - self.after_seq
        assert self.subscription.closed == self._over()

    # --- how ---

    def _arrive(self, batch: TaskEvents, *, straight: bool) -> None:
        if not (straight and self._sent(batch)):
            self.subscription.offer(batch)

    def _sent(self, batch: TaskEvents) -> bool:
        subscription = self.subscription
        if subscription.cohort is not None:
            sent = not subscription.cohort.take(batch, 0)
        else:
            sent = subscription.lend(batch, len(batch.wire)) >= 0
        if sent:
            self.sink.got.extend(batch.events)
            if subscription.live:
                subscription.step_in(Cohort(batch.last_seq))
        return sent

    def _over(self) -> bool:
        return bool(self.log) and self.log[-1].final

    def _commit(self, count: int, *, final: bool) -> None:
        drafts = [output(f"line {len(self.log) + index}\n") for index in range(count)]
        if final:
            drafts[-1] = Draft("status", {"status": "completed"}, final=True)
        if drafts:
            events = number(TASK, drafts, after_seq=len(self.log), now_ms=NOW_MS)
            self.log.extend(events)
            self.on_the_way.append(TaskEvents(TASK, events))
            self.published.append(self.on_the_way[-1])

    def _begin_read(self, events: int) -> None:
        self.behind = False
        cursor = self.subscription.cursor
        found = self.log[cursor : cursor + events]
        fitting = [
            event
            for index, event in enumerate(found)
            if index == 0 or len(TaskEvents(TASK, found[: index + 1]).wire) <= self.sink.space
        ]
        last = fitting[-1] if fitting else self.log[cursor - 1] if cursor else None
        at_end = cursor + len(fitting) == len(self.log)
        self.page = Page(fitting, at_end=at_end, complete=last is not None and last.final)

    def _finish_read(self) -> None:
        page, self.page = self.page, None
        assert page is not None
        # The real feeder reads no more than there is room for, and waits for room before it reads.
        self.sink.space = max(self.sink.space, sum(len(event.frame) + 10 for event in page.events))
        if not self.subscription.closed:
            self.subscription.feed(page)
            self.behind |= not self.subscription.live and not self.subscription.closed


SubscriptionMachine.TestCase.settings = settings(deterministic, max_examples=300, stateful_step_count=30)
TestSubscription = SubscriptionMachine.TestCase


# --- mutants --------------------------------------------------------------------------------------------


class TakesGaps(Subscription):
    """Forgets to look whether a batch begins right after the cursor."""

    def offer(self, batch: TaskEvents) -> None:
        """Hand on whatever is new."""
        if self.live and not self.closed and batch.last_seq > self.cursor:
            self.head = max(self.head, batch.last_seq)
            self._hand_on(batch.after(self.cursor))
        else:
            super().offer(batch)


class TakesRepeats(Subscription):
    """Forgets to drop what is not newer than the cursor."""

    def offer(self, batch: TaskEvents) -> None:
        """Hand on the whole batch if it does not begin too late."""
        if self.live and not self.closed and batch.first_seq <= self.cursor + 1:
            self._hand_on(batch)
        else:
            super().offer(batch)


class TakesWhatDoesNotFit(Subscription):
    """Forgets to ask for room."""

    def offer(self, batch: TaskEvents) -> None:
        """Hand on the next batch whatever its size."""
        if self.live and not self.closed and batch.first_seq == self.cursor + 1:
            self._hand_on(batch)
        else:
            super().offer(batch)


class LiveFromTheBeginning(Subscription):
    """Believes that it has everything."""

    def begin(self, head: int, *, complete: bool, feed: Callable[[Subscription], None]) -> None:
        """Begin, and be live wherever that is."""
        super().begin(self.cursor, complete=complete, feed=feed)


class LiveAfterAnyPage(Subscription):
    """Goes live when it has all it was offered, though the log has more."""

    def feed(self, page: Page) -> None:
        """Feed, and believe that this was all."""
        super().feed(dataclasses.replace(page, at_end=True))


class LiveAtAnOldEnd(Subscription):
    """Believes that nothing follows a page, though a batch was offered since it was read."""

    def feed(self, page: Page) -> None:
        """Feed, and go live where the page was the last."""
        super().feed(page)
        self.live = not self.closed and page.at_end


class ForgetsTheHead(Subscription):
    """Does not note what it was offered while it was behind."""

    def offer(self, batch: TaskEvents) -> None:
        """Ignore what comes while behind."""
        if self.live:
            super().offer(batch)


class NeverEnds(Subscription):
    """Overlooks the last event."""

    def _end(self) -> None:
        """Go on."""


class FallsBehindInSilence(Subscription):
    """Does not ask to be fed."""

    def offer(self, batch: TaskEvents) -> None:
        """Offer, and tell nobody of falling behind."""
        self._on_behind = lambda _subscription: None
        super().offer(batch)


MUTANTS = [
    TakesGaps,
    TakesRepeats,
    TakesWhatDoesNotFit,
    LiveFromTheBeginning,
    LiveAfterAnyPage,
    LiveAtAnOldEnd,
    ForgetsTheHead,
    NeverEnds,
    FallsBehindInSilence,
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_machine_catches_mutant(mutant: type[Subscription]) -> None:
    """A subscription that breaks one rule is found out."""
    machine = type("MutantMachine", (SubscriptionMachine,), {"subscription_type": mutant})
    quick = settings(deterministic, max_examples=1000, stateful_step_count=30, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=quick)
