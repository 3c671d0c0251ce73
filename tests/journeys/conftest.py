"""One real gateway for the journeys that leave it as they found it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.http_calls import SECRET


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway with its embedded defaults."""
    async with running_gateway(tmp_path_factory.mktemp("gateway") / "data") as gateway:
        yield gateway


@pytest.fixture
def gateway(module_gateway: GatewayProcess) -> GatewayProcess:
    """The module's gateway."""
    return module_gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway that wants tokens, and answers a blocking submit after 1 s."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET, "GATEWAY_BLOCKING_HTTP_S": "1"}
    async with running_gateway(tmp_path_factory.mktemp("guarded") / "data", env=env) as gateway:
        yield gateway
