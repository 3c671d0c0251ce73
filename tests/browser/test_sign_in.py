"""The page of a gateway that asks who one is."""

import time

import pytest
from playwright.async_api import Browser, FilePayload, expect

from tests.support.http_calls import token
from tests.support.pages import ended, lines_of, violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def test_a_page_without_a_token_asks_for_one_until_it_is_good(
    browser: Browser, guarded_url: str
) -> None:
    """A refused token is said to be refused; a good one opens the page as its subject. The keyboard is enough."""
    page = await browser.new_page()
    await page.goto(guarded_url)
    await expect(page.get_by_role("heading", name="This gateway asks who you are")).to_be_visible()
    assert await violations(page) == []

    await page.keyboard.insert_text(token(exp=int(time.time()) - 3600))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="That token was not accepted")).to_be_visible()

    await page.get_by_label("Token").fill(token())
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_test_id("connection")).to_have_text("Live")
    await expect(page.get_by_role("banner")).to_contain_text("alice")


async def test_a_token_in_the_fragment_signs_in_and_leaves_the_address(
    browser: Browser, guarded_url: str
) -> None:
    """A link may carry its token; it serves the upload by HTTP too, and is not left to be seen."""
    page = await browser.new_page()
    await page.goto(f"{guarded_url}/#/new&token={token()}")
    await expect(page.get_by_test_id("connection")).to_have_text("Live")
    await expect(page).to_have_url(f"{guarded_url}/#/new")

    await page.get_by_label("Choose files").set_input_files(
        files=[FilePayload(name="big.txt", mimeType="text/plain", buffer=b"x" * 2_000_000)]
    )
    await page.get_by_label("Commands").fill("wc -c big.txt")
    await page.get_by_role("button", name="Submit task").click()
    await ended(page)
    assert await lines_of(page) == ["2000000 big.txt"]

    # What was uploaded is not in the task's input: who runs it again is told, and chooses it once more.
    await page.get_by_role("button", name="Run again").click()
    await expect(page.get_by_role("alert")).to_contain_text("The file that was uploaded")


async def test_a_newcomer_is_greeted_and_runs_an_example_by_one_click(
    browser: Browser, guarded_url: str
) -> None:
    """Who has no tasks is shown the way; the example is a real task that ends, and stands in the list."""
    page = await browser.new_page()
    await page.goto(f"{guarded_url}/#token={token('newcomer')}")
    await expect(page.get_by_role("heading", name="Run something")).to_be_visible()
    assert await violations(page) == []
    await page.get_by_role("button", name="Run the example").click()

    await ended(page)
    assert "A tour of the sandbox" in await lines_of(page)
    await page.keyboard.press("Escape")
    row = page.get_by_role("list", name="Tasks").get_by_role("link", name="sh tour.sh")
    await expect(row).to_contain_text("Completed")
