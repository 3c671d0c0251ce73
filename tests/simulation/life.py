"""The life of one task in a seed: submitted, followed, steered, fed, waited for, deleted; then judged."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any, Final

from tests.simulation.crowd import Crowd
from tests.simulation.follower import Follower
from tests.simulation.oracle import check_promptness, check_story
from tests.simulation.orders import Order, Wish
from tests.simulation.person import Person
from tests.simulation.sightings import Sightings
from tests.support.gateway import is_final
from tests.support.history import HistoryError, check_all
from tests.support.waiting import let_pass

ALL_AWAKE_S: Final = 62.0
"""By then every instance that stood still goes on."""


class Life:
    """One task's, with all who have to do with it."""

    def __init__(
        self, order: Order, rng: random.Random, sightings: Sightings, *, among_many: bool = False
    ) -> None:
        self.order = order
        self._among_many = among_many
        self.task_id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.wishes: list[Wish] = []
        self.is_deleted = False
        self.is_over = False
        self._rng = rng
        self._sightings = sightings
        self._followers = [Follower(order, rng, sightings, self.task_id) for _ in range(order.followers)]

    @classmethod
    def drawn(cls, index: int, seed: int, sightings: Sightings, *, among_many: bool) -> "Life":
        """One of many; `among_many` instances it is longer."""
        rng = random.Random(f"{seed} {index}")
        order = Order.drawn(index, rng, is_long=among_many)
        return cls(order, rng, sightings, among_many=among_many)

    @property
    def frames(self) -> list[str]:
        """The log, as the first follower saw it."""
        return self._followers[0].frames

    @property
    def events(self) -> list[dict[str, Any]]:
        """The same, read."""
        return [json.loads(frame) for frame in self.frames]

    @property
    def end(self) -> str:
        """The status it ended with."""
        return str(json.loads(self.frames[-1])["data"]["status"])

    @property
    def state(self) -> str:
        """How far it has come, for whoever wonders."""
        seen = [(len(one.frames), one.frames[-1:]) for one in self._followers]
        return f"order {self.order.number} {self.task_id}: {seen}"

    # --- what is done ---------------------------------------------------------------------------------------

    async def run(self, crowd: Crowd) -> None:
        """All of it."""
        await let_pass(self.order.begins_s)
        async with asyncio.TaskGroup() as group:
            if not self.order.minds:
                group.create_task(crowd.read(self.task_id))
            for index, follower in enumerate(self._followers):
                group.create_task(follower.follow(submits=self.order.streaming and index == 0))
            if not self.order.streaming:
                group.create_task(self._submit())
            group.create_task(self._wish())
            if self.order.lines:
                group.create_task(self._feed())
            if self.order.waited_for:
                group.create_task(self._wait())
        if self.order.deleted:
            await self._delete()
        self.is_over = True

    async def _submit(self) -> None:
        person = Person(self._rng, self._sightings)
        answer = await person.ask("submit_task", mode="background", **self.order.body)
        self._sightings["idempotent replay"] += _good(answer)["replayed"]
        self.task_id.set_result(answer["task"]["task_id"])
        await person.leave()

    async def _wish(self) -> None:
        person, task_id = Person(self._rng, self._sightings), await asyncio.shield(self.task_id)
        last = () if self.order.is_cancelled else ("resume_task",)
        for kind in (*self.order.wishes, *last):
            await let_pass(self._rng.choice((0.1, 0.5, 1.0, 4.0)))
            more = (
                {"cols": 80, "rows": self._rng.randint(1, 50)}
                if kind == "resize"
                else {"reason": "the weather"}
            )
            sent_at = _now()
            answer = await person.ask(kind, task_id=task_id, **more)
            refused = _is_refused(answer)
            seq = 0 if refused or "task" not in answer else answer["task"]["last_seq"]
            self.wishes.append(Wish(kind, sent_at, _now(), seq, refused))
        if self._among_many and self.order.wishes and not self.order.is_cancelled:
            # An instance that stood still finds what it was asked when it wakes, whatever was wished elsewhere since.
            await let_pass(max(0.0, ALL_AWAKE_S - _now()))
            _is_refused(await person.ask("resume_task", task_id=task_id))
        await person.leave()

    async def _feed(self) -> None:
        person, task_id = Person(self._rng, self._sightings), await asyncio.shield(self.task_id)
        for number in range(self.order.lines):
            await let_pass(self._rng.uniform(0, 0.4))
            data, key = f"line {number}\n", str(number)
            if _is_refused(await person.ask("send_input", task_id=task_id, data=data, key=key)):
                break
        else:
            _is_refused(await person.ask("send_input", task_id=task_id, data="", eof=True, key="end"))
        await person.leave()

    async def _wait(self) -> None:
        """Wait for the end with one request, over as many connections as it takes."""
        await asyncio.shield(self.task_id)
        person = Person(self._rng, self._sightings)
        task = _good(await person.ask("submit_task", mode="blocking", **self.order.body))["task"]
        self._sightings["blocking wait over several connections"] += person.tries > 1
        if task["task_id"] != self.task_id.result() or task["status"] not in {"completed", "cancelled"}:
            raise HistoryError(f"blocking: answered {task}")
        await person.leave()

    async def _delete(self) -> None:
        person, task_id = Person(self._rng, self._sightings), self.task_id.result()
        answer = await person.ask("delete_task", task_id=task_id)
        gone = answer.get("code") == "task_not_found" and person.tries > 1
        if "code" in answer and not gone:
            raise HistoryError(f"delete: answered {answer}")
        for kind in ("get_task", "subscribe"):
            if (answer := await person.ask(kind, task_id=task_id)).get("code") != "task_not_found":
                raise HistoryError(f"delete: {kind} of what is deleted was answered {answer}")
        self.is_deleted = True
        self._sightings["deleted"] += 1
        await person.leave()

    # --- what came of it ------------------------------------------------------------------------------------

    def check(self, crowd: Crowd, is_fair: Callable[[float, float], bool]) -> None:
        """Judge it. Raises `HistoryError`."""
        crowd.check(self.task_id.result(), self.frames)
        check_all(follower.frames for follower in self._followers)
        events = self.events
        if not is_final(events[-1]):
            raise HistoryError(f"end: {events[-1]} is the last of {self.task_id}")
        check_story(self.order, events, self.wishes, self._sightings)
        check_promptness(events, self.wishes, is_fair, self._sightings)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _good(answer: dict[str, Any]) -> dict[str, Any]:
    if "code" in answer:
        raise HistoryError(f"refused: {answer}")
    return answer


def _is_refused(answer: dict[str, Any]) -> bool:
    """Whether the task has ended, or is about to. Raises `HistoryError` for any other refusal."""
    if answer.get("code", "invalid_state") != "invalid_state":
        raise HistoryError(f"refused: {answer}")
    return "code" in answer
