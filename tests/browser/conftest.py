"""The page in the system's Chromium, against a gateway of its own."""

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.gateway import running_gateway
from tests.support.pages import ROOT, STATIC, watched_page

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
AGENTS = {"GATEWAY_AGENTS": "gardener=tests.support.own_agents:Gardener", "PYTHONPATH": str(ROOT)}
"""An agent that asks, and makes checkpoints."""
# No sandbox of Chromium's own, so that it starts as root too; and nothing that calls home.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# A task goes through a jail, and the machine may be busy.
expect.set_options(timeout=20_000)


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
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, headless."""
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail("Chromium is missing: apt install chromium", pytrace=False)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="package")
async def page(browser: Browser, gateway_url: str) -> AsyncIterator[Page]:
    """The open page of the shared gateway."""
    async with watched_page(browser, gateway_url) as page:
        yield page
