"""Tokens made by hand."""

from pathlib import Path
from typing import Any

import jwt
import pytest
import typer

from gateway.server.cli.token import claims_of, lifetime_s, print_token

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105


def test_token_says_what_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """The printed token is signed with the secret and holds subject, scopes, audience and end."""
    assert (
        print_token(
            SECRET, sub="ann", scopes=["admin", "sandbox tasks:read"], tasks=[], expires="2h", audience="gw"
        )
        == 0
    )
    claims = jwt.decode(capsys.readouterr().out.strip(), SECRET, algorithms=["HS256"], audience="gw")
    assert (claims["sub"], claims["scope"]) == ("ann", "admin sandbox tasks:read")
    assert claims["exp"] - claims["iat"] == 7200
    assert (len(claims["jti"]), "tasks" in claims) == (36, False)


def test_gateways_own_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`.env`, where `gateway serve` has its secret and audience from; without a secret it is said where that goes."""
    monkeypatch.chdir(tmp_path)
    about: dict[str, Any] = {"sub": "ann", "scopes": [], "tasks": [], "expires": "2h", "audience": None}
    with pytest.raises(typer.BadParameter, match="set GATEWAY_JWT_SECRET"):
        print_token(None, **about)
    (tmp_path / ".env").write_text(f"GATEWAY_JWT_SECRET={SECRET}\nGATEWAY_JWT_AUDIENCE=gw\n")
    assert print_token(None, **about) == 0
    jwt.decode(capsys.readouterr().out.strip(), SECRET, algorithms=["HS256"], audience="gw")


def test_token_for_tasks_reads_them_alone() -> None:
    """It is narrowed to the named tasks, and steers them only where that is said."""
    claims = claims_of("ann", [], ["t1", "t2"], now=1000, lifetime_s=60, audience=None)
    assert claims == {"sub": "ann", "scope": "tasks:read", "iat": 1000, "exp": 1060, "tasks": ["t1", "t2"]}
    steering = claims_of("ann", ["tasks:write"], ["t1"], now=0, lifetime_s=1, audience=None)
    assert (steering["scope"], steering["tasks"]) == ("tasks:write", ["t1"])


@pytest.mark.parametrize("task", ["", "x" * 65])
def test_what_is_no_task_is_refused(task: str) -> None:
    """A token that opens nothing is a mistake."""
    with pytest.raises(typer.BadParameter):
        claims_of("ann", [], [task], now=0, lifetime_s=1, audience=None)


def test_token_without_a_subject_is_refused() -> None:
    """The gateway would not take it."""
    with pytest.raises(typer.BadParameter):
        claims_of("", [], now=0, lifetime_s=1, audience=None)


def test_token_reads_and_writes_by_default() -> None:
    """Without a scope named, the token is good for tasks and nothing else."""
    claims = claims_of("ann", [], now=1000, lifetime_s=60, audience=None)
    assert claims == {"sub": "ann", "scope": "tasks:read tasks:write", "iat": 1000, "exp": 1060}


def test_short_secret_is_refused() -> None:
    """HS256 wants a key of 32 bytes, and the gateway would not take less."""
    with pytest.raises(typer.BadParameter, match="32 bytes"):
        print_token("short", sub="ann", scopes=[], tasks=[], expires="1d", audience=None)


def test_unknown_scope_is_refused() -> None:
    """A scope that is spelled wrong is an error now, not a puzzle later."""
    with pytest.raises(typer.BadParameter, match="no such scope: task:read"):
        claims_of("ann", ["task:read"], now=0, lifetime_s=1, audience=None)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800)])
def test_time_has_a_unit(text: str, seconds: int) -> None:
    """A lifetime is a number and a unit."""
    assert lifetime_s(text) == seconds


@pytest.mark.parametrize("text", ["", "12", "h", "0h", "-1h", "1.5h", "1y", "1h "])
def test_time_without_sense_is_refused(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(typer.BadParameter):
        lifetime_s(text)
