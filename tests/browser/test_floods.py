"""A great deal on one page: lines and tasks."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.gateway import Client, client, running_gateway
from tests.support.pages import ended, lines_of, screen_of, submit, watched_page
from tests.support.smoothness import frame_gaps, heap, most

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

LINES = 100_000
COLOURED = f"seq 1 {LINES} | sed 's/.*/\\x1b[3'$((1))'mline &\\x1b[0m of a flood/'"
MAX_HEAP_BYTES = 200 << 20
TASKS = 1_200
"""More than a dozen pages of the list."""


async def test_a_hundred_thousand_coloured_lines_stay_smooth(page: Page) -> None:
    """The end of a flood is there soon, scrolling keeps its pace, memory is bounded; all of it can be saved."""
    await submit(page, COLOURED)
    await ended(page)
    await expect(screen_of(page)).to_contain_text(f"line {LINES}")
    async with frame_gaps(page) as gaps:
        await page.get_by_test_id("screen").hover()
        for turn in range(60):
            await page.mouse.wheel(0, -900 if turn < 40 else 1200)
    assert most(gaps) <= 100
    await finds(page)
    assert (await lines_of(page))[-1] == f"line {LINES} of a flood"
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Save").click()
    assert (await (await saved.value).path()).read_text().count(" of a flood\n") == LINES
    assert await heap(page) < MAX_HEAP_BYTES


async def finds(page: Page) -> None:
    """A search brings its line into sight, and one that finds nothing says so; then the newest is followed again."""
    search = page.get_by_label("Search the output")
    await search.fill(f"line {LINES - 30_000} of")
    await expect(screen_of(page)).to_contain_text(f"line {LINES - 30_000} of")
    await search.fill("no such line")
    await expect(search).to_have_attribute("aria-invalid", "true")
    await page.get_by_role("button", name="Follow").click()
    await expect(screen_of(page)).to_contain_text(f"line {LINES} of")


async def test_a_long_list_draws_what_is_in_sight(built_page: None, browser: Browser, tmp_path: Path) -> None:
    """Older pages come as one scrolls, to the very first task; the document holds a few dozen rows of them.

    What is known already and fills the page is no reason to load for ever.
    """
    env = {"GATEWAY_REQUESTS_PER_S": "0", "GATEWAY_QUEUE_S": "3600"}
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        await fill(gateway.socket_url)
        async with watched_page(browser, gateway.url) as page:
            rows = page.get_by_role("list", name="Tasks").get_by_role("link")
            await all_loaded(page)
            await expect(rows.last).to_contain_text(re.compile(r"task [1-5]?\d!"))
            assert await rows.count() < 60
            await page.get_by_label("Search tasks").fill("777!")
            await expect(rows).to_have_count(1)
            await page.get_by_label("Search tasks").fill("")
            await page.get_by_role("button", name="Waiting").click()
            await expect(page.get_by_text("Loading…")).to_have_count(0)
            await rows.first.click()
            await expect(page.get_by_text("It waits for a place")).to_be_visible()


async def fill(socket_url: str) -> None:
    """Submit the tasks, some at once."""
    async with client(socket_url) as me:
        for first in range(1, TASKS + 1, 50):
            asked = [await ask(me, n) for n in range(first, first + 50)]
            assert {(await me.answer(request))["type"] for request in asked} == {"result"}


async def ask(me: Client, number: int) -> str:
    """Submit a task of that number; the request's id."""
    labels = {"name": f"task {number}!"}
    return await me.send("submit_task", mode="background", input={"commands": ["true"]}, labels=labels)


async def all_loaded(page: Page) -> None:
    """Scroll until the last page of the list has come, and to its end."""
    told = page.get_by_text(f"{TASKS:,} tasks")
    while not await told.count():
        await to_the_end(page)
    await to_the_end(page)


async def to_the_end(page: Page) -> None:
    """Scroll the list as far as it is known, and let it be drawn."""
    await page.locator(".rows").evaluate("box => box.scrollTo(0, box.scrollHeight)")
    await page.evaluate("() => new Promise(requestAnimationFrame)")
