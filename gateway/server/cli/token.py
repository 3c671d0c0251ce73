"""`gateway token`: a token made by hand, for machines and for trying things."""

import re
import time
import uuid
from collections.abc import Sequence
from typing import Any

import jwt
import typer

from gateway.principal import SCOPES
from gateway.server.env_file import value_in_file

DEFAULT_SCOPES = ("tasks:read", "tasks:write")
SHARED_SCOPES = ("tasks:read",)
"""Of a token for named tasks: to show them is one thing, to let others steer them another."""
MAX_TASK_ID = 64
MIN_SECRET_BYTES = 32
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def print_token(
    secret: str | None,
    *,
    sub: str,
    scopes: Sequence[str],
    tasks: Sequence[str],
    expires: str,
    audience: str | None,
) -> int:
    """Print it; the exit code. What is None is the gateway's of `.env`. Raises typer.BadParameter."""
    secret = secret or value_in_file("GATEWAY_JWT_SECRET")
    audience = audience or value_in_file("GATEWAY_JWT_AUDIENCE")
    if secret is None:
        raise typer.BadParameter("set GATEWAY_JWT_SECRET, as for the gateway", param_hint="--secret")
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise typer.BadParameter(
            f"the secret is shorter than {MIN_SECRET_BYTES} bytes", param_hint="--secret"
        )
    now = int(time.time())
    claims = claims_of(sub, scopes, tasks, now=now, lifetime_s=lifetime_s(expires), audience=audience)
    typer.echo(jwt.encode(claims | {"jti": str(uuid.uuid4())}, secret, algorithm="HS256"))
    return 0


def claims_of(
    sub: str,
    scopes: Sequence[str],
    tasks: Sequence[str] = (),
    *,
    now: int,
    lifetime_s: int,
    audience: str | None,
) -> dict[str, Any]:
    """What the token says; `scopes` may also hold several in one string. Raises typer.BadParameter."""
    if not sub:
        raise typer.BadParameter("whom does it stand for?", param_hint="--sub")
    if wrong := [task for task in tasks if not 0 < len(task) <= MAX_TASK_ID]:
        raise typer.BadParameter(f"{wrong[0][:100]!r} is no task's id", param_hint="--task")
    named = " ".join(scopes or (SHARED_SCOPES if tasks else DEFAULT_SCOPES)).split()
    if unknown := sorted(set(named) - SCOPES):
        raise typer.BadParameter(
            f"no such scope: {', '.join(unknown)} (there are {', '.join(sorted(SCOPES))})",
            param_hint="--scope",
        )
    claims = {"sub": sub, "scope": " ".join(named), "iat": now, "exp": now + lifetime_s}
    claims |= {"tasks": list(tasks)} if tasks else {}
    return claims | ({"aud": audience} if audience else {})


def lifetime_s(text: str) -> int:
    """Seconds in a time such as 90s, 30m, 12h or 7d; raises typer.BadParameter."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if match is None:
        raise typer.BadParameter("say a time such as 30m, 12h or 7d", param_hint="--expires")
    return int(match[1]) * SECONDS[match[2]]
