"""The page for everybody: by keyboard alone, on a phone, and as tools for the blind see it."""

import gzip
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.support.pages import STATIC, connection_of, ended, lines_of, status_of, violations
from tests.support.web import post

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

MAX_INITIAL_BYTES = 150_000


async def test_the_keyboard_alone_does_a_whole_journey(page: Page) -> None:
    """New by `n`, paused, resumed by `p`, stopped by `x`, left by Escape, found by `/`, `j`, Enter; Ctrl K goes on."""
    keyboard = page.keyboard
    await expect(connection_of(page)).to_have_text("Live")
    await keyboard.press("n")
    await expect(page.get_by_role("heading", name="New task")).to_be_visible()
    while await page.evaluate("document.activeElement?.id") != "commands":
        await keyboard.press("Tab")
    await keyboard.type("echo by keyboard; sleep 600")
    await keyboard.press("Control+Enter")
    await expect(status_of(page)).to_have_text("Running")
    await keyboard.press("p")
    await expect(status_of(page)).to_have_text("Paused")
    await keyboard.press("p")
    await expect(status_of(page)).to_have_text("Running")
    await keyboard.press("x")
    await expect(status_of(page)).to_have_text("Cancelled")
    assert await lines_of(page) == ["by keyboard"]

    await keyboard.press("Escape")
    await expect(page.get_by_role("heading", name="Tasks", exact=True)).to_be_visible()
    await keyboard.press("/")
    await keyboard.type("by keyboard")
    await expect(page.get_by_role("list", name="Tasks").get_by_role("link")).to_have_count(1)
    await keyboard.press("Escape")
    await keyboard.press("j")
    await keyboard.press("Enter")
    await expect(status_of(page)).to_have_text("Cancelled")

    await keyboard.press("Control+k")
    await keyboard.type("sandbox")
    await keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Sandboxes and instances")).to_be_visible()
    await keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    await keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until it has the focus."""
    for _ in range(80):
        if await target.evaluate("element => element === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    pytest.fail(f"Tab never comes to {target}")


async def answer(page: Page, plant: str) -> None:
    """The question has the focus as soon as it is there."""
    await expect(page.get_by_label("Plant")).to_be_focused()
    await page.keyboard.type(plant)
    await page.keyboard.press("Enter")
    await expect(status_of(page)).to_have_text("Completed")


async def test_the_keyboard_alone_answers_goes_back_forks_and_shares(page: Page) -> None:
    """An agent's form, its question, the views of its task, its checkpoints and its link need no mouse."""
    keyboard = page.keyboard
    await expect(connection_of(page)).to_have_text("Live")
    await keyboard.press("n")
    # The list that the key leaves has a choice of agents, too.
    await tab_to(page, page.get_by_role("region", name="New task").get_by_label("Agent"))
    await keyboard.type("gardener")
    await tab_to(page, page.get_by_label("What is to be done"))
    await keyboard.type("a garden")
    await tab_to(page, page.get_by_label("Rows"))
    await keyboard.type("3")
    await keyboard.press("Control+Enter")
    await answer(page, "tulips")
    for again, plant in (("Recover from dug", "lilies"), ("Fork from dug", "moss")):
        before = page.url.partition("?")[0]
        await tab_to(page, page.get_by_role("tab", selected=True))
        while not await page.get_by_role("tab", name="Checkpoints", selected=True).count():
            await keyboard.press("ArrowRight")
        await expect(page.get_by_role("button", name=again).first).to_be_visible()
        await tab_to(page, page.get_by_role("button", name=again).first)
        await keyboard.press("Enter")
        await expect(page).not_to_have_url(re.compile(re.escape(before)))
        await answer(page, plant)
    await keyboard.press("l")
    await expect(page.get_by_role("button", name="Copy the address")).to_be_focused()
    await keyboard.press("Enter")
    await expect(page.get_by_label("The link")).to_have_value(page.url.partition("?")[0])
    await keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
async def test_no_page_violates_an_accessibility_rule(
    browser: Browser, gateway_url: str, scheme: str, width: int
) -> None:
    """axe finds nothing on any page and in any dialog, in either scheme, on a phone as on a desk."""
    body = {"mode": "blocking", "input": {"commands": ["printf '\\033[31mred\\033[0m\\n'", "false"]}}
    task = (await post(f"{gateway_url}/v1/tasks", body))[1]["task"]
    site = {"agent": "frontend_developer", "mode": "blocking", "input": {"task": "a page"}}
    made = (await post(f"{gateway_url}/v1/tasks", site))[1]["task"]
    question = {"agent": "gardener", "mode": "background", "input": {"task": "a garden", "rows": 3}}
    asks = (await post(f"{gateway_url}/v1/tasks", question))[1]["task"]
    context = await browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 800}
    )
    page = await context.new_page()
    views = ["output", "site", "files", "checkpoints", "details", "frames"]
    places = [
        *("/#/", "/#/new", "/#/workflows", f"/#/workflows/{made['workflow_id']}", "/#/sandboxes"),
        f"/#/tasks/{task['task_id']}",
        *(f"/#/tasks/{made['task_id']}?view={view}" for view in views),
        f"/#/tasks/{asks['task_id']}",
        "/#/tasks/none",
    ]
    found: dict[str, list[str]] = {}
    await page.goto(gateway_url)
    await expect(connection_of(page)).to_have_text("Live")
    for place in places:
        await page.goto(gateway_url + place)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        found[place] = await violations(page)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
    await page.goto(f"{gateway_url}/#/tasks/{asks['task_id']}")
    await expect(page.get_by_role("form", name="The task asks")).to_be_visible()
    found["question"] = await violations(page)
    await page.get_by_role("heading", level=1).click()
    for key, dialog in (("Control+k", "Go anywhere"), ("?", "Keyboard"), ("l", "Share this task")):
        await page.keyboard.press(key)
        await expect(page.get_by_role("dialog", name=dialog)).to_be_visible()
        found[dialog] = await violations(page)
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("x")
    await expect(status_of(page)).to_have_text("Cancelled")
    await context.close()
    assert {place: told for place, told in found.items() if told} == {}


async def test_first_load_is_small() -> None:
    """What the page needs before it shows anything, compressed: at most 150 kB; the terminal comes later."""
    html = STATIC.read_text()
    named = re.findall(r'(?:src|href)="/(assets/[^"]+)"', html)
    assert named
    bodies = [html.encode(), *((Path(STATIC).parent / name).read_bytes() for name in named)]
    assert sum(len(gzip.compress(body)) for body in bodies) <= MAX_INITIAL_BYTES


async def test_a_link_leads_to_the_plain_text_and_back(page: Page) -> None:
    """The output is there as text too, for whoever a terminal is no use to."""
    await page.get_by_role("link", name="New task").first.click()
    await page.get_by_label("Commands").fill("echo readable")
    await page.keyboard.press("Control+Enter")
    await ended(page)
    await page.get_by_role("button", name="Plain text").click()
    await expect(page.get_by_role("region", name="Output as text")).to_contain_text("readable")
