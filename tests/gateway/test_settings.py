"""Settings: the contract's names and defaults, and what is refused at the start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateway.addresses import is_loopback
from gateway.settings import Settings

SECRET = "s" * 32

# The contract's names, an example of each, and what it is read as.
NAMES: list[tuple[str, str, str, Any]] = [
    ("EVENT_BUS_BACKEND", "memory", "event_bus_backend", "memory"),
    ("STATE_PERSISTENCE_BACKEND", "sqlite", "state_persistence_backend", "sqlite"),
    ("STATE_PERSISTENCE_BACKEND", "memory", "state_persistence_backend", "memory"),
    ("WEBSOCKET_URL", "ws://a/ws, wss://b/ws", "websocket_url", ("ws://a/ws", "wss://b/ws")),
    ("GATEWAY_HOST", "localhost", "host", "localhost"),
    ("GATEWAY_PORT", "0", "port", 0),
    ("GATEWAY_DATA_DIR", "elsewhere", "data_dir", Path("elsewhere")),
    ("GATEWAY_JWT_SECRET", SECRET, "jwt_secret", SecretStr(SECRET)),
    ("GATEWAY_JWT_AUDIENCE", "us", "jwt_audience", "us"),
    ("GATEWAY_ALLOWED_ORIGINS", "https://a,https://b", "allowed_origins", ("https://a", "https://b")),
    ("GATEWAY_ALLOWED_HOSTS", "a.example", "allowed_hosts", ("a.example",)),
    ("GATEWAY_DRAIN_S", "5", "drain_s", 5.0),
    ("GATEWAY_QUEUE_S", "7.5", "queue_s", 7.5),
    ("GATEWAY_MAX_RUNNING_PER_SUBJECT", "0", "max_running_per_subject", 0),
    ("GATEWAY_MAX_INPUT_BYTES", "1000", "max_input_bytes", 1000),
]


@pytest.fixture(autouse=True)
def _empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable and no `.env` of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name, _, _, _ in [*NAMES, ("GATEWAY_AUTH", "", "", None)]:
        monkeypatch.delenv(name, raising=False)
    yield


def refusal(**fields: Any) -> str:
    """What is said to whoever starts with these."""
    with pytest.raises(ValidationError) as caught:
        Settings(**fields)
    return str(caught.value)


def test_defaults_are_the_contracts() -> None:
    """Started with nothing, it serves this machine, on the embedded parts, with the contract's limits."""
    settings = Settings()
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8080, Path("data"))
    assert (settings.event_bus_backend, settings.state_persistence_backend) == ("memory", "sqlite")
    assert (settings.auth, settings.jwt_secret, settings.websocket_url) == ("none", None, ())
    assert (settings.max_frame_bytes, settings.max_input_bytes, settings.max_body_bytes) == (
        1_048_576,
        268_435_456,
        32 << 20,
    )
    assert (settings.max_inflight, settings.max_subscriptions, settings.heartbeat_ms) == (64, 1000, 25_000)
    assert (settings.max_connections_per_subject, settings.max_running_per_subject) == (1000, 32)
    assert (settings.requests_per_s, settings.request_burst) == (100, 200)
    assert (settings.drain_s, settings.queue_s, settings.blocking_http_s) == (60, 300, 60)


@pytest.mark.parametrize(("name", "value", "field", "read"), NAMES, ids=[row[0] for row in NAMES])
def test_setting_is_read_from_its_name(
    name: str, value: str, field: str, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every setting of the contract is read from the environment by the contract's name."""
    monkeypatch.setenv(name, value)
    assert getattr(Settings(), field) == read


def test_flags_win_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the contract."""
    Path(".env").write_text("GATEWAY_PORT=1\nGATEWAY_DRAIN_S=1\nGATEWAY_QUEUE_S=1\n")
    monkeypatch.setenv("GATEWAY_DRAIN_S", "2")
    monkeypatch.setenv("GATEWAY_QUEUE_S", "2")
    settings = Settings(queue_s=3)
    assert (settings.port, settings.drain_s, settings.queue_s) == (1, 2, 3)


PUBLIC = ["0.0.0.0", "::", "192.0.2.1", "gateway.example", "2001:db8::1"]  # noqa: S104 - refused here


@pytest.mark.parametrize("host", PUBLIC)
def test_public_address_without_authentication_is_refused(host: str) -> None:
    """The refusal says which lines to change; with a secret the same address is served."""
    said = refusal(host=host)
    assert "GATEWAY_AUTH=jwt" in said
    assert "GATEWAY_JWT_SECRET" in said
    assert Settings(host=host, auth="jwt", jwt_secret=SecretStr(SECRET)).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_authentication(host: str) -> None:
    """Nobody else can connect."""
    assert Settings(host=host).loopback
    assert is_loopback(host)


def test_authentication_needs_a_secret_that_is_long_enough() -> None:
    """32 bytes of UTF-8, and the refusal does not show the secret."""
    assert "GATEWAY_JWT_SECRET" in refusal(auth="jwt")
    said = refusal(auth="jwt", jwt_secret=SecretStr("hunter2" * 4))
    assert "too short" in said
    assert "hunter2" not in said
    assert Settings(auth="jwt", jwt_secret=SecretStr("ä" * 16)).auth == "jwt"


def test_secret_is_not_shown() -> None:
    """Neither in a log nor in a traceback."""
    settings = Settings(auth="jwt", jwt_secret=SecretStr(SECRET), sandbox_token=SecretStr("t0ken"))
    assert SECRET not in repr(settings)
    assert "t0ken" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 65_536},
        {"port": -1},
        {"auth": "basic"},
        {"websocket_url": "http://a/ws"},
        {"event_bus_backend": "carrier pigeon"},
        {"state_persistence_backend": "floppy"},
        {"max_frame_bytes": 10},
        {"heartbeat_ms": 0},
        {"log_level": "loud"},
    ],
    ids=str,
)
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    """A start with it fails and names the field."""
    assert next(iter(wrong)).split("_")[0] in refusal(**wrong).lower()


def test_empty_lists_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing lists nothing."""
    monkeypatch.setenv("WEBSOCKET_URL", " , ")
    monkeypatch.setenv("GATEWAY_ALLOWED_HOSTS", "")
    assert (Settings().websocket_url, Settings().allowed_hosts) == ((), ())


def test_address_is_told_where_there_are_others_to_reach_it() -> None:
    """Who is alone with its store tells none: what was told there before is a dead one's. A setting says it for all."""
    bound = "http://127.0.0.1:1234"
    assert Settings().advertised(bound) is None
    assert Settings(event_bus_backend="redis").advertised(bound) == bound
    assert Settings(advertise_url="http://me:1/").advertised(bound) == "http://me:1"
