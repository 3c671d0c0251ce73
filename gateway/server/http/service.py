"""Lists of agents, sandboxes and instances over HTTP, and `whoami`."""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from gateway.agents.fleet_registry import FleetRegistry
from gateway.agents.sandboxes import Described
from gateway.fanout.watch_few import visible
from gateway.server.http.routes import JSON, Answer, Asked, Route, json_answer
from gateway.sessions.commands import expiry
from gateway.shapes.service import Agents, Instances, Sandboxes, Whoami


class Service:
    """The handlers; `sandboxes` and `instances` give what there is now."""

    def __init__(
        self,
        agents: FleetRegistry,
        sandboxes: Callable[[], Mapping[tuple[str, str], Described]],
        instances: Callable[[], list[dict[str, Any]]],
        share_max_s: int | None,
    ) -> None:
        self._agents = agents
        self._sandboxes = sandboxes
        self._instances = instances
        self._share_max_s = share_max_s

    def routes(self) -> list[Route]:
        """What is served here."""
        return [
            _list("agents", self.agents, "The agents that tasks can be for.", Answer("All.", {JSON: Agents})),
            _list(
                "sandboxes",
                self.sandboxes,
                "The sandboxes that you may see: an admin all, others their own.",
                Answer("Those.", {JSON: Sandboxes}),
            ),
            _list(
                "instances",
                self.instances,
                "The gateway processes that share this one's store.",
                Answer("All.", {JSON: Instances}),
                scope="admin",
            ),
            Route(
                name="whoami",
                method="GET",
                path="/v1/whoami",
                handler=self.whoami,
                about="Whom your token stands for.",
                answers={200: Answer("You.", {JSON: Whoami})},
            ),
        ]

    async def agents(self, _asked: Asked) -> web.StreamResponse:
        """Each with the JSON Schema of its input."""
        found = self._agents.schemas.items()
        return json_answer({"agents": [{"name": name, "input_schema": schema} for name, schema in found]})

    async def sandboxes(self, asked: Asked) -> web.StreamResponse:
        """Those that the asker may see."""
        asked.principal.require_whole()
        return json_answer({"sandboxes": visible(self._sandboxes(), asked.principal)})

    async def instances(self, asked: Asked) -> web.StreamResponse:
        """All that live."""
        asked.principal.require_whole()
        return json_answer({"instances": self._instances()})

    async def whoami(self, asked: Asked) -> web.StreamResponse:
        """The asker's subject, scopes, and the end of its token."""
        principal = asked.principal
        return json_answer(
            {
                "subject": principal.subject,
                "scopes": sorted(principal.scopes),
                "expires_at": expiry(principal),
                "share_max_s": self._share_max_s if principal.tasks is None else None,
            }
        )


def _list(name: str, handler: Any, about: str, answer: Answer, *, scope: str = "tasks:read") -> Route:
    return Route(
        name=f"list_{name}",
        method="GET",
        path=f"/v1/{name}",
        handler=handler,
        about=about,
        scope=scope,
        answers={200: answer},
    )
