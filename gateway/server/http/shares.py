"""Links that show one task: a token for it, signed by us, for its owner to give away."""

from typing import Annotated, Any, Final

import jwt
from aiohttp import web
from pydantic import Field

from gateway.clock import rfc3339
from gateway.errors import GatewayError
from gateway.frames import Strict
from gateway.principal import Principal
from gateway.server.http.routes import JSON, MADE, Answer, Asked, Route, json_answer
from gateway.sessions.auth import ENDS_WITH
from gateway.sessions.commands import Services
from gateway.settings import Settings
from gateway.shapes.tasks import Shared
from gateway.tasks import TaskRecord

SCOPE: Final = "tasks:read"
"""To show a task is one thing, to let others steer it another."""


class ShareBody(Strict):
    """How long a link is to work."""

    expires_in_s: Annotated[int, Field(ge=60, le=31_536_000)] = 86_400
    """Seconds; cut to what the gateway allows, and to the life of the asker's own token."""


class Shares:
    """The handler of `/v1/tasks/{task_id}/share`."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self._services = services
        self._settings = settings

    def routes(self) -> list[Route]:
        """What is served here."""
        return [
            Route(
                name="share_task",
                method="POST",
                path="/v1/tasks/{task_id}/share",
                handler=self.share,
                about="Make a token that shows this one task to whoever has it, and steers nothing.",
                scope=SCOPE,
                body=ShareBody,
                body_is_optional=True,
                answers={201: Answer("The token, for the fragment of a link.", {JSON: Shared})},
                errors=("task_not_found", "invalid_state"),
            )
        ]

    async def share(self, asked: Asked) -> web.StreamResponse:
        """Sign one."""
        body: ShareBody = await asked.body()
        task = await self._services.control.get(asked.principal, asked.task_id)
        asked.principal.require_whole()
        claims = self._claims(asked.principal, task, body.expires_in_s)
        token = jwt.encode(claims, self._secret(), algorithm="HS256")
        answer = {"token": token, "token_id": claims["jti"], "expires_at": rfc3339(claims["exp"] * 1000)}
        response = json_answer(answer, status=201, headers={"Cache-Control": "no-store"})
        response[MADE] = claims["jti"]
        return response

    def _claims(self, principal: Principal, task: TaskRecord, wanted_s: int) -> dict[str, Any]:
        now_s = self._services.clock.now_ms() // 1000
        ends = now_s + min(wanted_s, self._settings.share_max_s)
        if principal.expires_at is not None:
            # What is given away does not outlive what it is given from: a stolen token gains no time by it.
            ends = min(ends, int(principal.expires_at))
        audience = self._settings.jwt_audience
        claims = {"sub": task.subject, "scope": SCOPE, "tasks": [task.task_id], "iat": now_s, "exp": ends}
        claims["jti"] = self._services.clock.new_id()
        own = [f"jti {principal.token_id}"] if principal.token_id is not None else []
        claims[ENDS_WITH] = [f"sub {principal.subject}", *own]
        return claims | ({"aud": audience} if audience else {})

    def _secret(self) -> str:
        secret = self._settings.jwt_secret
        if share_bound(self._settings) is None or secret is None:
            raise GatewayError("invalid_state", "This gateway signs no tokens, so it can make no link.")
        return secret.get_secret_value()


def share_bound(settings: Settings) -> int | None:
    """How long a link may live at most, in s; None where none can be made."""
    signs = settings.auth == "jwt" and settings.jwt_secret is not None
    return settings.share_max_s if signs and settings.share_max_s > 0 else None
