"""The other instances, as each told of itself last: what they have, and what is seen of them here."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from gateway.agents.sandboxes import Described, told_fits, told_sandboxes
from gateway.errors import StoreUnavailableError
from gateway.fleet import Fleet, Instance
from gateway.state.base import StateStore
from gateway.state.leases import Schemas
from sandbox_bridge.pool import Want

LOOK_S: Final = 1.0
"""How often the others are looked at."""

About = Callable[[], Mapping[str, Any]]


class FleetView:
    """This instance, which is `about`, and the others; without `run` it is alone.

    While the store can't be read, the others are believed to be as they were.
    """

    def __init__(self, store: StateStore, instance: str, about: About, *, log: FilteringBoundLogger) -> None:
        self._store = store
        self._instance = instance
        self._about = about
        self._log = log
        self._fleet = Fleet(0)
        # What those that live told of their agents; those that tell the same share it.
        self._told: dict[str, Schemas] = {}
        self._schemas: dict[str, Any] = {}

    async def run(self) -> None:
        """Look at the others until cancelled."""
        while True:
            try:
                self._fleet = await self._store.leases.fleet()
                await self._learn()
            except StoreUnavailableError as error:
                self._log.warning("store unavailable, the others are not seen", error=str(error))
            await asyncio.sleep(LOOK_S)

    async def _learn(self) -> None:
        self._told = {
            one.instance: self._told[one.instance] for one in self._others if one.instance in self._told
        }
        for one in self._others:
            if one.instance not in self._told:
                told = await self._store.leases.agents(one.instance)
                self._told[one.instance] = next((same for same in self._told.values() if same == told), told)
        self._schemas = {
            name: self._told[one.instance].get(name, {})
            for one in reversed(self._others)
            for name in one.about["instance"]["agents"]
        }

    @property
    def _others(self) -> list[Instance]:
        return [one for one in self._fleet.living if one.instance != self._instance]

    @property
    def _abouts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield self._instance, self._about()
        for one in self._others:
            yield one.instance, one.about

    @property
    def living(self) -> frozenset[str]:
        """The ids of those that live, this one among them."""
        return frozenset((self._instance, *(one.instance for one in self._others)))

    def instances(self) -> list[dict[str, Any]]:
        """All of them, as lists tell of them."""
        return [{"instance": name, **about["instance"]} for name, about in self._abouts]

    def described(self) -> dict[tuple[str, str], Described]:
        """The same by id, for whoever watches them."""
        return {("", one["instance"]): Described(None, one) for one in self.instances()}

    def schemas(self) -> Mapping[str, Any]:
        """What the agents of the others take, by name; nothing is known of one that was not told of."""
        return self._schemas

    def sandboxes(self) -> dict[tuple[str, str], Described]:
        """Those of the others, by instance and address, and by id."""
        return {
            (f"{one.instance} {address}", sandbox_id): described
            for one in self._others
            for (address, sandbox_id), described in told_sandboxes(one.about["sandboxes"]).items()
        }

    def others_fit(self, want: Want | None, agent: str) -> bool:
        """Whether one of the others that have the agent has a sandbox, busy or free, that would do."""
        able = [one for one in self._others if agent in one.about["instance"]["agents"]]
        return any(told_fits(one.about["sandboxes"], want) for one in able)
