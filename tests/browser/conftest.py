"""The page in the system's Chromium, against a gateway of its own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.http_calls import SECRET
from tests.support.pages import ROOT, STATIC, chromium, watched_page
from tests.support.tabs import revoked_in
from tests.support.webcontainer import webcontainer_double

AGENTS = {"GATEWAY_AGENTS": "gardener=tests.support.own_agents:Gardener", "PYTHONPATH": str(ROOT)}
"""An agent that asks, and makes checkpoints."""


@pytest.fixture(scope="package")
def built_page() -> None:
    """The page that the gateway serves; `make test` builds it."""
    if not STATIC.exists():
        pytest.fail("the page is not built: run `npm ci && npm run build` in web/", pytrace=False)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def gateway_url(built_page: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a gateway with its embedded defaults, which the tests share, as people do."""
    async with running_gateway(tmp_path_factory.mktemp("gateway") / "data", env=AGENTS) as gateway:
        yield gateway.url


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def guarded_url(built_page: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a gateway that asks who one is."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET, **AGENTS}
    async with running_gateway(tmp_path_factory.mktemp("guarded") / "data", env=env) as gateway:
        yield gateway.url


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def runtime_url() -> AsyncIterator[str]:
    """Where a double of the WebContainer's runtime is."""
    async with webcontainer_double() as url:
        yield url


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def tabs_gateway(
    built_page: None, runtime_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    """A gateway that takes tokens only, and has no sandbox but tabs."""
    folder = tmp_path_factory.mktemp("tabs")
    revoked_in(folder).touch()
    env = {
        "GATEWAY_AUTH": "jwt",
        "GATEWAY_JWT_SECRET": SECRET,
        "GATEWAY_WEBCONTAINER_URL": runtime_url,
        "GATEWAY_REVOKED_FILE": str(revoked_in(folder)),
    }
    async with running_gateway(folder / "data", "--no-local-sandbox", env=env) as made:
        yield made


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, headless."""
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="package")
async def page(browser: Browser, gateway_url: str) -> AsyncIterator[Page]:
    """The open page of the shared gateway."""
    async with watched_page(browser, gateway_url) as page:
        yield page
