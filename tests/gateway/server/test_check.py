"""`gateway check` as an operator meets it: what it finds, what mends it, and that it leaves everything as it was."""

import asyncio
import json
import os
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.server.checks.agents import agents
from gateway.server.checks.parts import environment, networks, passed_over, set_by_hand
from gateway.server.configuration import mistakes, settings_of
from gateway.settings import Settings
from tests.support.gateway import client, running_gateway
from tests.support.postgres import postgres_server
from tests.support.redis_server import redis_server

pytestmark = pytest.mark.journey


async def checked(
    data_dir: Path, *options: str, port: int = 0, **env: str
) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, findings and standard error of `gateway check`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "check", "--json", "--data-dir", str(data_dir)),
        *("--port", str(port), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | env,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def of(findings: list[dict[str, Any]], part: str, state: str) -> str:
    """What was found of a part in that state, with what mends it."""
    return "\n".join(
        f"{f['message']} | {f['fix']}" for f in findings if (f["part"], f["state"]) == (part, state)
    )


def failing(findings: list[dict[str, Any]]) -> set[str]:
    """The parts that fail; each says what mends it."""
    bad = [finding for finding in findings if finding["state"] == "fail"]
    assert all(finding["fix"] for finding in bad)
    return {finding["part"] for finding in bad}


async def test_sound_start_is_all_well(tmp_path: Path) -> None:
    """A fresh directory, a free port and a sandbox of our own: nothing fails, and nothing is left behind."""
    code, findings, err = await checked(tmp_path / "data")
    assert (code, failing(findings)) == (0, set()), (findings, err)
    parts = {finding["part"] for finding in findings}
    assert parts == {
        "settings",
        "auth",
        "data directory",
        "database",
        "port",
        "sites",
        "open files",
        "bus",
        "sandbox",
    }
    assert "isolation: " in of(findings, "sandbox", "ok")
    assert "a durable write takes" in of(findings, "data directory", "ok")
    assert not await asyncio.to_thread(any, tmp_path.iterdir())  # noqa: ASYNC240


async def test_each_wrong_part_is_named_with_what_mends_it(tmp_path: Path) -> None:
    """A misspelt setting, a taken port, a sandbox service that is not there, a database that is none."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "gateway.db").write_bytes(b"no database" * 1000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, findings, _ = await checked(
            data,
            "--no-local-sandbox",
            port=taken.getsockname()[1],
            GATEWAY_RETENTON_S="5",
            WEBSOCKET_URL="ws://127.0.0.1:9/ws",
            GATEWAY_AGENTS="x=nowhere:Nothing",
        )
    assert code == 1
    assert failing(findings) == {"settings", "port", "sandbox", "database", "agents"}
    assert "GATEWAY_RETENTION_S" in of(findings, "settings", "fail")
    assert "choose another --port" in of(findings, "port", "fail")
    assert "sandbox-bridge serve" in of(findings, "sandbox", "fail")


async def test_settings_that_contradict_are_all_that_is_said(tmp_path: Path) -> None:
    """Nothing can be tried with them."""
    code, findings, _ = await checked(tmp_path / "data", "--host", "0.0.0.0")  # noqa: S104
    assert (code, failing(findings)) == (1, {"settings"})
    assert "GATEWAY_AUTH=jwt" in of(findings, "settings", "fail")


async def test_directory_that_cannot_be_written_fails(tmp_path: Path) -> None:
    """Where there is a file, there can be no directory."""
    (tmp_path / "data").write_text("")
    code, findings, _ = await checked(tmp_path / "data", "--no-local-sandbox")
    assert (code, failing(findings)) == (1, {"data directory"})


async def test_damaged_database_is_told(tmp_path: Path) -> None:
    """Pages are looked at, not only the header."""
    async with running_gateway(tmp_path / "data", "--no-local-sandbox") as gateway:
        async with client(gateway.socket_url) as me:
            for _ in range(20):
                await me.submit(
                    "true", mode="background", input={"commands": ["true"], "files": {"a": "x" * 9000}}
                )
        assert await gateway.stop() == 0
    path = tmp_path / "data" / "gateway.db"
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(os.urandom(40 * 4096))
    code, findings, _ = await checked(tmp_path / "data", "--no-local-sandbox")
    assert (code, failing(findings)) == (1, {"database"})


async def test_check_beside_a_running_gateway_tells_what_it_has(tmp_path: Path) -> None:
    """Its tasks, what its store takes, what is due; the gateway goes on as if nobody had looked, and is no sandbox."""
    async with running_gateway(tmp_path / "data") as gateway, client(gateway.socket_url) as me:
        await me.until_ended(await me.submit("echo done"))
        port = int(gateway.url.rsplit(":", 1)[1])
        env = {"GATEWAY_RETENTION_S": "0", "GATEWAY_RETENTION_BYTES": "1000"}
        code, findings, _ = await checked(gateway.data_dir, "--no-local-sandbox", port=port, **env)
        assert (code, failing(findings)) == (0, set())
        assert "a gateway answers" in of(findings, "port", "ok")
        assert "a gateway uses" in of(findings, "data directory", "ok")
        found = of(findings, "database", "ok")
        assert "tasks: 1 completed" in found
        assert "1 logs, 0 tasks" in found
        assert "GATEWAY_RETENTION_BYTES" in of(findings, "database", "warn")
        await me.until_ended(await me.submit("echo done"))
        with closing(sqlite3.connect(gateway.data_dir / "gateway.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        other = tmp_path / "other"
        _, findings, _ = await checked(other, "--no-local-sandbox", WEBSOCKET_URL=gateway.socket_url)
        assert "is a gateway's client socket" in of(findings, "sandbox", "fail")


async def test_database_server_is_tried(tmp_path: Path) -> None:
    """Whether it is there, and whether it takes writes."""
    with postgres_server() as server:
        env: dict[str, Any] = {
            "STATE_PERSISTENCE_BACKEND": "postgresql",
            "STATE_DATABASE_URL": server.dsn(),
        }
        code, findings, _ = await checked(tmp_path / "data", "--no-local-sandbox", **env)
        assert (code, failing(findings)) == (0, set())
        assert "postgresql: a durable write takes" in of(findings, "database", "ok")
    code, findings, _ = await checked(tmp_path / "data", "--no-local-sandbox", **env)
    assert (code, failing(findings)) == (1, {"database"})


async def test_engine_in_the_process_is_tried_and_its_limits_told(tmp_path: Path) -> None:
    """SurrealDB's folder is tried; with Redis it is told that no other gateway shares it; one in use is left alone."""
    env: dict[str, Any] = {"STATE_PERSISTENCE_BACKEND": "surrealdb"}
    code, findings, _ = await checked(tmp_path / "data", "--no-local-sandbox", **env)
    assert (code, failing(findings)) == (0, set())
    assert "surrealdb: a durable write takes" in of(findings, "database", "ok")
    redis: dict[str, Any] = {"EVENT_BUS_BACKEND": "redis", "REDIS_URL": "redis://127.0.0.1:1/0"}
    _, findings, _ = await checked(tmp_path / "data", "--no-local-sandbox", **env, **redis)
    assert "serves it alone" in of(findings, "database", "warn")
    async with running_gateway(tmp_path / "data", env=env):
        code, findings, _ = await checked(tmp_path / "data", "--no-local-sandbox", **env)
    assert "a gateway uses it" in of(findings, "database", "ok")
    assert "database" not in failing(findings)


def test_secrets_are_not_shown() -> None:
    """A setting that is a secret is told by its length alone; each other one with its reason."""
    secret = SecretStr("s" * 40)
    settings = Settings(_env_file=None, auth="jwt", jwt_secret=secret, heartbeat_ms=1000)
    told = [finding.message for finding in set_by_hand(settings)]
    assert not any("sss" in message for message in told)
    assert any("GATEWAY_JWT_SECRET = (a secret of 40 characters)" in message for message in told)
    assert any(m.startswith("GATEWAY_HEARTBEAT_MS = 1000: How often") for m in told)


@pytest.mark.parametrize(
    ("differs", "warned"),
    [
        ({}, True),
        ({"advertise_url": "http://10.0.0.7:8080"}, False),
        ({"host": "127.0.0.1"}, False),
        ({"event_bus_backend": "memory"}, False),
    ],
)
def test_instance_that_others_cannot_find_is_told(differs: dict[str, Any], warned: bool) -> None:
    """One of many, on every address, with previews: they must be told where its sites are asked for."""
    of_a_fleet: dict[str, Any] = {
        "host": "0.0.0.0",  # noqa: S104 - nothing listens
        "port": 0,
        "auth": "jwt",
        "jwt_secret": SecretStr("s" * 32),
        "event_bus_backend": "redis",
        "preview_host": "preview.localhost",
    }
    found = [finding.fix or "" for finding in networks(Settings(**(of_a_fleet | differs)))]
    assert any("GATEWAY_ADVERTISE_URL" in fix for fix in found) == warned


@pytest.mark.parametrize("name", ["EVENT_BUS_BACKEND", "STATE_PERSISTENCE_BACKEND", "GATEWAY_PORT"])
def test_mistake_is_told_by_the_name_that_its_variable_has(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all settings begin with `GATEWAY_`."""
    monkeypatch.setenv(name, "nonsense")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [told.partition(":")[0] for told in mistakes(caught.value)] == [name]


def test_wrong_setting_is_told_with_its_value_but_a_secret_is_not() -> None:
    """Who set it may be a file, a pod or a shell: the value says which."""
    with pytest.raises(ValidationError) as caught:
        settings_of({"port": "tcp://10.0.0.1:80", "jwt_secret": 17, "max_inflight": 0, "drain_s": -1})
    port, secret, *others = mistakes(caught.value)
    assert port.endswith("(it is 'tcp://10.0.0.1:80')")
    assert "17" not in secret
    assert [told.partition(":")[0] for told in others] == ["GATEWAY_MAX_INFLIGHT", "GATEWAY_DRAIN_S"]


def test_variables_of_others_are_no_mistakes() -> None:
    """Those of the client commands, and whatever does not begin like ours."""
    assert list(environment(["GATEWAY_URL", "GATEWAY_TOKEN", "PATH", "GATEWAY_PORT", "SANDBOX_TOKEN"])) == []
    (finding,) = environment(["GATEWAY_XYZZY"])
    assert finding.fix == "remove it"


def test_misspelt_limit_of_the_sandbox_is_told() -> None:
    """It would be passed over, and tasks would have the default."""
    (finding,) = environment(["SANDBOX_MEMORY_MB", "SANDBOX_MAX_MEMORI_MB"])
    assert finding.fix == "you may mean SANDBOX_MAX_MEMORY_MB"


def test_address_of_a_server_that_is_not_used_is_told() -> None:
    """Whoever sets nothing else would have SQLite, and one instance, without a word."""
    settings = Settings(
        state_database_url=SecretStr("postgresql://a@b/c"), redis_url=SecretStr("redis://d/0")
    )
    found = [f"{one.message} | {one.fix}" for one in passed_over(settings)]
    assert [one.split()[0] for one in found] == ["STATE_DATABASE_URL", "REDIS_URL"]
    assert "STATE_PERSISTENCE_BACKEND=postgresql" in found[0]
    assert list(passed_over(Settings())) == []


@pytest.mark.parametrize(
    ("named", "state", "message"),
    [
        ((), None, ""),
        (("x=nowhere:Nothing",), "fail", "nowhere"),
        (("sandbox=tests.support.own_agents:Gardener",), "fail", "choose another"),
        (("gardener=tests.support.own_agents:Gardener",), "ok", "gardener"),
    ],
)
def test_agents_of_others_are_tried(named: tuple[str, ...], state: str | None, message: str) -> None:
    """A gateway does not start without one that it was told of."""
    found = [(one.state, one.message) for one in agents(Settings(agents=named))]
    assert [one for one, _ in found] == ([] if state is None else [state])
    assert all(message in words for _, words in found)


async def test_redis_is_tried_by_what_comes_back(tmp_path: Path) -> None:
    """A gateway starts without it, so one that is away is a warning; an address that can't be one is a failure."""

    async def checked_at(url: str) -> list[dict[str, Any]]:
        _, findings, _ = await checked(tmp_path / "data", EVENT_BUS_BACKEND="redis", REDIS_URL=url)
        return findings

    with redis_server() as server:
        findings = await checked_at(server.url)
        assert "what is published comes back" in of(findings, "bus", "ok")
        server.kill()
        findings = await checked_at(server.url)
        assert "REDIS_URL" in of(findings, "bus", "warn")
    findings = await checked_at("http://localhost")
    assert "REDIS_URL can't be used" in of(findings, "bus", "fail")
