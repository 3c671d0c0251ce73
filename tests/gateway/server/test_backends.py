"""The bus that the settings name, as its operator hears of it."""

import asyncio

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.metrics import Metrics
from gateway.server.backends import make_bus
from gateway.settings import Settings
from tests.support.postgres import free_port
from tests.support.processes import until


async def test_redis_that_is_not_there_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway starts without it and serves; nothing else would tell that other instances are heard late."""
    monkeypatch.setattr("gateway.bus.redis.bus.PROBE_S", 0.1)
    url = SecretStr(f"redis://127.0.0.1:{free_port()}/0")
    with capture_logs() as lines:
        bus = make_bus(Settings(event_bus_backend="redis", redis_url=url), Metrics(), "here")
        running = asyncio.create_task(bus.run())
        await until(lambda: bool(lines), within_s=20, what="a line")
        running.cancel()
        await asyncio.wait([running])
    assert [line["log_level"] for line in lines] == ["warning"]
    assert lines[0]["problem"]
