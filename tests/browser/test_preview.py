"""A site of a task in a real browser: a page with an origin of its own."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser

from tests.support.gateway import client, running_gateway
from tests.support.site_script import SITE

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def test_page_of_a_preview_is_at_home_there(browser: Browser, tmp_path: Path) -> None:
    """It asks its own server by fetch and WebSocket, and keeps what it stores; of the gateway it can read nothing."""
    async with (
        running_gateway(tmp_path / "data", env={"GATEWAY_PREVIEW_HOST": "preview.localhost"}) as gateway,
        client(gateway.socket_url) as me,
    ):
        task_id = await me.submit(input={"files": {"site.py": SITE}, "commands": ["python3 site.py"]})
        shown = (await me.until_event(task_id, "server_ready"))["data"]["url"]
        # A browser finds names below `localhost` on this machine; the certificate is a proxy's business.
        url = f"http://{urlsplit(shown).hostname}:{urlsplit(gateway.url).port}"
        context = await browser.new_context()
        page = await context.new_page()
        async with asyncio.timeout(60):
            answer = await page.goto(url + "/")
            assert answer is not None
            assert answer.status == 200
            host = str(urlsplit(url).hostname)
            assert await page.evaluate("done") == [url, f"hello from {host}:{urlsplit(url).port}", "ping", 1]
            tried = await page.evaluate(
                f"fetch('{gateway.url}/v1/whoami').then((answer) => answer.status, (error) => error.name)"
            )
            assert tried == "TypeError"
            reached = await page.evaluate(
                f"""new Promise((told) => {{
                    const socket = new WebSocket("{gateway.socket_url}", "gateway.v1");
                    socket.onopen = () => told("open");
                    socket.onerror = () => told("refused");
                }})"""
            )
            assert reached == "refused"
        await context.close()
