"""The page in the system's Chromium, against a gateway of its own."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

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
START_S = 30
STOP_S = 10


@pytest.fixture
async def gateway_url(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a gateway with its embedded defaults."""
    if not STATIC.exists():
        pytest.fail("the page is not built: run `npm ci && npm run build` in web/", pytrace=False)
    log = tmp_path / "gateway.log"
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=stderr, env=clean_environment()
        )
    try:
        assert process.stdout is not None
        ready = await asyncio.wait_for(process.stdout.readline(), START_S)
        if not ready.startswith(b"gateway ready on "):
            pytest.fail(f"the gateway did not start:\n{log.read_text()[-4000:]}", pytrace=False)
        yield ready.decode().split()[-1]
    finally:
        await stop(process)


def clean_environment() -> dict[str, str]:
    """Our environment without any setting of the product's own."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "SANDBOX_"))}


async def stop(process: asyncio.subprocess.Process) -> None:
    """End the process now: two signals skip the drain, and what does not listen is killed."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.communicate()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, headless."""
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail("Chromium is missing: apt install chromium", pytrace=False)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield chromium
        await chromium.close()


@pytest.fixture
async def page(browser: Browser, gateway_url: str) -> AsyncIterator[Page]:
    """The open page; it must neither complain nor talk to anyone but its gateway."""
    page = await browser.new_page()
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
    assert complaints == []
    assert [url for url in strangers if not url.startswith(gateway_url)] == []
