"""The dashboard as its tests use it."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, async_playwright, expect

ROOT: Final = Path(__file__).parents[2]
STATIC: Final = ROOT / "gateway/server/static/index.html"

AXE: Final = ROOT / "web/node_modules/axe-core/axe.min.js"
CHROMIUM_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
# No sandbox of Chromium's own, so that it starts as root too; and nothing that calls home.
CHROMIUM_FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
OURS: Final = re.compile(r"[$✓✗▸◆?⏎]")
"""Lines that the page itself adds begin so."""


# A task goes through a jail, and the machine may be busy.
expect.set_options(timeout=20_000)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium, headless."""
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    assert found is not None, "Chromium is missing: apt install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


async def submit(page: Page, commands: str) -> None:
    """Fill in the commands and press the button."""
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="New task").click()
    await page.get_by_label("Commands").fill(commands)
    await page.get_by_role("button", name="Submit task").click()


def status_of(page: Page) -> Locator:
    """The status of the task that the page shows."""
    return page.get_by_test_id("status")


def connection_of(page: Page) -> Locator:
    """The pill that tells of the connection."""
    return page.get_by_test_id("connection")


def screen_of(page: Page) -> Locator:
    """The terminal's rows that are in sight."""
    return page.locator(".xterm-rows")


async def ended(page: Page, code: int = 0) -> None:
    """Wait for the end of the task that the page shows."""
    await expect(page.get_by_test_id("exit-code")).to_have_text(f"exit code {code}")


async def lines_of(page: Page) -> list[str]:
    """All lines that the task has written, as the page has them now; wait for the last of them before."""
    button = page.get_by_role("button", name="Plain text")
    if await button.get_attribute("aria-pressed") != "true":
        await button.click()
    text = await page.get_by_role("region", name="Output as text").locator("pre").text_content()
    await button.click()
    return [line for line in (text or "").splitlines() if line and not OURS.match(line)]


async def violations(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 AA, and its best practices."""
    await page.evaluate(AXE.read_text())
    found: list[dict[str, Any]] = await page.evaluate(
        "axe.run({iframes: false}).then((all) => all.violations)"
    )
    return [f"{item['id']}: {node['html'][:200]}" for item in found for node in item["nodes"]]


@asynccontextmanager
async def watched_page(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """A page at `url`; it must neither complain nor talk to anyone but its gateway."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    complaints: list[str] = []
    strangers: list[str] = []
    ours = (url.partition("/#")[0], "blob:")

    def listen(message: ConsoleMessage) -> None:
        # What a task's site says is the site's; a gateway that is away is told by the page.
        if message.type in {"error", "warning"} and "net::ERR_CONNECTION" not in message.text:
            complaints.append(message.text)

    def seen(request: Request) -> None:
        if request.frame == page.main_frame and not request.url.startswith(ours):
            strangers.append(request.url)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", seen)
    page.set_default_timeout(20_000)
    await page.goto(url)
    yield page
    await context.close()
    assert not complaints, complaints
    assert not strangers, strangers
