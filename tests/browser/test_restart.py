"""The page over a gateway's death."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, expect

from tests.support.gateway import running_gateway
from tests.support.pages import connection_of, ended, lines_of, screen_of, submit, watched_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

LINES = [f"line {n}" for n in range(1, 31)]


async def test_an_open_page_outlives_its_gateway(built_page: None, browser: Browser, tmp_path: Path) -> None:
    """Killed in the middle of a task and started again: the page comes back, and the next attempt is whole."""
    async with running_gateway(tmp_path / "data") as first, watched_page(browser, first.url) as page:
        port = str(urlsplit(first.url).port)
        await expect(connection_of(page)).to_have_text("Live")
        await submit(page, "for n in $(seq 1 30); do echo line $n; sleep 0.05; done")
        await expect(screen_of(page)).to_contain_text("line 5")
        await first.kill()
        await expect(connection_of(page)).to_contain_text("Offline")
        async with running_gateway(tmp_path / "data", "--port", port):
            await expect(connection_of(page)).to_contain_text("lost 0", timeout=60_000)
            await ended(page)
            await expect(page.get_by_text("attempt 2", exact=True)).to_be_visible()
            lines = await lines_of(page)
            assert lines[-30:] == LINES
            assert lines[:-30] == LINES[: len(lines) - 30]
