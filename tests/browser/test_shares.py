"""A task that is shown to somebody by a link."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.support.http_calls import token
from tests.support.pages import connection_of, ended, lines_of, screen_of, status_of, submit, violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

ENDLESS = "echo shown; sleep 600"
STEERING = re.compile("Pause|Resume|Cancel|Run again|Share|Send|Answer|New task")


@pytest_asyncio.fixture(loop_scope="package")
async def owner(browser: Browser, guarded_url: str) -> AsyncIterator[Page]:
    """The page of somebody who has signed in."""
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await context.new_page()
    await page.goto(f"{guarded_url}/#token={token('owner')}")
    await expect(connection_of(page)).to_have_text("Live")
    yield page
    await context.close()


async def link_from(page: Page, life: str = "1 hour") -> str:
    """Share the task that the page shows; what is on the clipboard then."""
    await page.get_by_role("button", name="Share").click()
    dialog = page.get_by_role("dialog", name="Share this task")
    await dialog.get_by_label("Works for").select_option(life)
    await dialog.get_by_role("button", name="Copy a link").click()
    await expect(dialog.get_by_role("status")).to_contain_text("Copied. It works until")
    assert await violations(page) == []
    link: str = await page.evaluate("navigator.clipboard.readText()")
    assert await dialog.get_by_label("The link").input_value() == link
    await page.keyboard.press("Escape")
    return link


async def test_a_link_shows_a_running_task_and_steers_nothing(
    owner: Page, browser: Browser, guarded_url: str
) -> None:
    """Lines, status and files are there as they come; no control is, and why is said; no address holds the token."""
    await submit(owner, ENDLESS)
    await expect(screen_of(owner)).to_contain_text("shown")
    link = await link_from(owner)
    context = await browser.new_context()
    guest = await context.new_page()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url.partition("#")[0]))
    guest.on("websocket", lambda socket: asked.append(socket.url))
    await guest.goto(link)

    await expect(screen_of(guest)).to_contain_text("shown")
    await expect(guest.get_by_text("lets you watch, not steer")).to_be_visible()
    await expect(guest.get_by_role("button", name=STEERING)).to_have_count(0)
    await expect(guest.get_by_role("link", name=re.compile("New task|Workflows|Sandboxes"))).to_have_count(0)
    for key in ("p", "x", "n", "l"):
        await guest.keyboard.press(key)
    await expect(status_of(guest)).to_have_text("Running")
    assert await violations(guest) == []
    await owner.keyboard.press("x")
    await expect(status_of(guest)).to_have_text("Cancelled")
    await guest.reload()
    await expect(screen_of(guest)).to_contain_text("shown")
    assert await lines_of(guest) == ["shown"]
    secret = link.rpartition("token=")[2]
    assert guest.url == link.partition("&")[0]
    assert asked
    assert [url for url in asked if secret in url] == []
    await context.close()


async def test_a_link_that_may_steer_has_the_controls(
    browser: Browser, owner: Page, guarded_url: str
) -> None:
    """What `gateway token --task` gives more than reading is offered, and no more than that."""
    await submit(owner, ENDLESS)
    await expect(status_of(owner)).to_have_text("Running")
    task_id = owner.url.rpartition("/")[2]
    context = await browser.new_context()
    guest = await context.new_page()
    await guest.goto(f"{guarded_url}/#/tasks/{task_id}&token={token('owner', tasks=[task_id])}")
    await expect(guest.get_by_text("lets you steer it")).to_be_visible()
    await guest.get_by_role("button", name="Cancel").click()
    await expect(status_of(owner)).to_have_text("Cancelled")
    await expect(guest.get_by_role("button", name="Share")).to_have_count(0)
    await context.close()


async def test_a_link_leaves_the_opener_who_they_are(owner: Page, guarded_url: str, browser: Browser) -> None:
    """Opened in the tab of somebody else who has signed in, it shows its task; left, they are themselves again."""
    await submit(owner, "echo for a friend")
    await ended(owner)
    link = await link_from(owner, "1 day")
    context = await browser.new_context()
    friend = await context.new_page()
    await signed_in_as_friend(friend, guarded_url)

    await friend.goto(link)
    await ended(friend)
    assert await lines_of(friend) == ["for a friend"]
    await friend.get_by_role("button", name="Leave the link").click()
    await expect(friend.get_by_role("banner")).to_contain_text("friend")
    await expect(friend.get_by_role("heading", name="Run something")).to_be_visible()
    await context.close()


async def signed_in_as_friend(page: Page, url: str) -> None:
    """Somebody who has a name of their own, and no tasks."""
    await page.goto(f"{url}/#token={token('friend')}")
    await expect(page.get_by_role("banner")).to_contain_text("friend")


async def test_an_ended_link_says_so(browser: Browser, guarded_url: str) -> None:
    """Nobody is asked for a token that they never had."""
    context: BrowserContext = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{guarded_url}/#/tasks/x&token={token('owner', 'tasks:read', tasks=['x'], exp=1)}")

    await expect(page.get_by_role("heading", name="This link works no more")).to_be_visible()
    await page.get_by_role("button", name="Come in as yourself").click()
    await expect(page.get_by_role("heading", name="This gateway asks who you are")).to_be_visible()
    await context.close()


async def test_a_gateway_that_asks_nobody_gives_a_plain_address(page: Page) -> None:
    """Where no link can be signed the page says what its address lets others do."""
    await submit(page, "echo open")
    await ended(page)
    await page.keyboard.press("l")
    dialog = page.get_by_role("dialog", name="Share this task")
    await expect(dialog).to_contain_text("asks nobody who they are")
    await dialog.get_by_role("button", name="Copy the address").click()
    await expect(dialog.get_by_label("The link")).to_have_value(page.url)
