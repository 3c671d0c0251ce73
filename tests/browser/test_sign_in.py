"""The page of a gateway that asks who one is."""

import time
from collections.abc import AsyncIterator

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, FilePayload, expect

from tests.support.gateway import running_gateway

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SECRET = "s" * 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded_url(built_page: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a gateway that takes tokens only."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET}
    async with running_gateway(tmp_path_factory.mktemp("gateway") / "data", env=env) as gateway:
        yield gateway.url


def token(**claims: object) -> str:
    """A token of alice's, good for an hour."""
    body = {"sub": "alice", "scope": "tasks:read tasks:write", "exp": int(time.time()) + 3600, **claims}
    return jwt.encode(body, SECRET, algorithm="HS256")


async def test_a_page_without_a_token_asks_for_one_until_it_is_good(
    browser: Browser, guarded_url: str
) -> None:
    """A refused token is said to be refused; a good one opens the page as its subject."""
    page = await browser.new_page()
    await page.goto(guarded_url)
    await expect(page.get_by_role("heading", name="This gateway asks who you are")).to_be_visible()

    await page.get_by_label("Token").fill(token(exp=int(time.time()) - 3600))
    await page.get_by_role("button", name="Sign in").click()
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
    await expect(page.locator(".line-stdout")).to_have_text(["2000000 big.txt"])
