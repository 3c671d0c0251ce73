"""The page's list of 10,000 tasks."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from gateway import wishes
from gateway.clock import Clock
from gateway.state.base import StateStore
from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.pages import ROOT, chromium, watched_page
from tests.support.records import new_task, record
from tests.support.smoothness import frame_gaps, heap, most
from tests.support.stores import SqliteBackend

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

TASKS: Final = 10_000
OPEN: Final = 20
"""The newest, which wait for a sandbox; the others were cancelled."""
MAX_HEAP_BYTES: Final = 150 << 20
MAX_GAP_MS: Final = 100
CLOCK: Final = Clock()
REPORT: Final = ROOT / "web/test-results/long-list.txt"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway over a store that has them."""
    data = tmp_path_factory.mktemp("gateway") / "data"
    data.mkdir()
    async with SqliteBackend(data).opened() as store:
        for first in range(0, TASKS, 500):
            await asyncio.gather(*(add(store, number) for number in range(first, first + 500)))
    async with running_gateway(data, "--no-local-sandbox", env={"GATEWAY_QUEUE_S": "3600"}) as started:
        yield started


async def add(store: StateStore, number: int) -> None:
    """A task of that number, as a submit, and but for the newest a cancel, leave it."""
    now_ms = CLOCK.now_ms()
    task = record(
        task_id=CLOCK.new_ordered_id(),
        workflow_id=CLOCK.new_id(),
        session_id=CLOCK.new_id(),
        subject="anonymous",
        labels={"name": f"task {number}!", "team": f"team-{number % 7}"},
        created_at=now_ms,
        updated_at=now_ms,
    )
    await store.create_task(new_task(task, input=b'{"commands":["true"]}'))
    if number < TASKS - OPEN:
        await store.change_task(task.task_id, partial(wishes.wish_cancel, now_ms=now_ms, by="anonymous"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(gateway: GatewayProcess) -> AsyncIterator[Page]:
    """The page, with all of its list loaded."""
    async with chromium() as browser, watched_page(browser, gateway.url) as page:
        told = page.get_by_text(f"{TASKS:,} tasks")
        while not await told.count():
            await page.locator(".rows").evaluate("box => box.scrollTo(0, box.scrollHeight)")
            await page.evaluate("() => new Promise(requestAnimationFrame)")
        await page.locator(".rows").evaluate("box => box.scrollTo(0, 0)")
        yield page


def rows(page: Page) -> Locator:
    """The links of the rows that are in the document."""
    return page.get_by_role("list", name="Tasks").get_by_role("link")


async def report(what: str, gaps: list[float]) -> None:
    """Leave the figures beside the pictures."""
    REPORT.parent.mkdir(exist_ok=True)
    with REPORT.open("a") as file:
        file.write(
            f"{what}: {len(gaps)} frames, 95 % within {most(gaps):.0f} ms, longest {gaps[-1]:.0f} ms\n"
        )


async def test_scrolling_searching_and_filtering_stay_smooth(page: Page) -> None:
    """No frame takes more than 100 ms, the document holds a few dozen rows, and memory is bounded."""
    async with frame_gaps(page) as scrolling:
        await page.locator(".rows").hover()
        for _ in range(100):
            await page.mouse.wheel(0, 5_000)
    await expect(rows(page).first).not_to_contain_text(re.compile("task 99.."))
    assert await rows(page).count() < 60
    async with frame_gaps(page) as searching:
        await page.get_by_label("Search tasks").press_sequentially("task 7777!")
        await expect(rows(page)).to_have_count(1)
        await page.get_by_label("Search tasks").fill("")
    async with frame_gaps(page) as filtering:
        for status in ("Waiting", "Cancelled", "Failed", "All"):
            await page.get_by_role("button", name=status, exact=True).click()
        await expect(page.get_by_text(f"{TASKS:,} tasks")).to_be_visible()
    used = await heap(page)
    for what, gaps in (("scrolling", scrolling), ("searching", searching), ("filtering", filtering)):
        await report(what, gaps)
        assert most(gaps) <= MAX_GAP_MS, (what, gaps[-10:])
    assert used < MAX_HEAP_BYTES


async def test_changes_of_many_tasks_stay_smooth(page: Page, gateway: GatewayProcess) -> None:
    """Those that wait are paused and resumed all along; each change is drawn, in frames of at most 100 ms."""
    waiting = page.get_by_role("list", name="Tasks").get_by_text("Paused")
    async with client(gateway.socket_url) as me:
        listed = (await me.ask("list_tasks", status="pending"))["tasks"]
        asked = itertools.product(("pause_task", "resume_task", "pause_task"), listed)
        async with frame_gaps(page) as gaps:
            for kind, task in asked:
                await me.ask(kind, task_id=task["task_id"])
            await expect(waiting.first).to_be_visible()
    await report("changes", gaps)
    assert most(gaps) <= MAX_GAP_MS


async def test_the_keyboard_goes_through_all_rows(page: Page) -> None:
    """`j` held down goes on beyond what is drawn, one row at a time, and `k` comes back to the first."""
    box = page.locator(".rows")
    await box.evaluate("box => box.scrollTo(0, 0)")
    await page.locator("main").focus()
    async with frame_gaps(page) as gaps:
        for _ in range(200):
            await page.keyboard.press("j")
    marked = page.locator(".rows li:focus-within")
    await expect(marked).to_have_attribute("aria-posinset", "200")
    await expect(marked).to_be_in_viewport()
    await box.evaluate("box => box.scrollTo(0, box.scrollHeight)")
    for _ in range(199):
        await page.keyboard.press("k")
    await expect(marked).to_have_attribute("aria-posinset", "1")
    await report("stepping", gaps)
    assert most(gaps) <= MAX_GAP_MS
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"task {TASKS - 1}!")
    await page.go_back()
    await expect(rows(page).first).to_be_visible()
