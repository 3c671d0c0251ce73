"""The page in the system's Chromium, against a gateway of its own."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests.support.gateway import running_gateway

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "gateway" / "server" / "static" / "index.html"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
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


@pytest.fixture(scope="module")
def built_page() -> None:
    """The page that the gateway serves; `make test` builds it."""
    if not STATIC.exists():
        pytest.fail("the page is not built: run `npm ci && npm run build` in web/", pytrace=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway_url(built_page: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a gateway with its embedded defaults, which a module's tests share, as people do."""
    async with running_gateway(tmp_path_factory.mktemp("gateway") / "data") as gateway:
        yield gateway.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, headless."""
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail("Chromium is missing: apt install chromium", pytrace=False)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, gateway_url: str) -> AsyncIterator[Page]:
    """The open page; it must neither complain nor talk to anyone but its gateway."""
    context = await browser.new_context()
    page = await context.new_page()
    complaints: list[str] = []
    strangers: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: strangers.append(request.url))
    page.set_default_timeout(20_000)
    await page.goto(gateway_url)
    yield page
    await context.close()
    assert complaints == []
    assert [url for url in strangers if not url.startswith(gateway_url)] == []
