"""Agents on the page: their questions, their checkpoints, their sites."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.support.pages import screen_of, status_of

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def begin(page: Page) -> None:
    """A task of the agent that asks, from the form that is drawn from its schema."""
    await page.get_by_role("link", name="New task").first.click()
    # The list that the click leaves has a choice of agents, too.
    new = page.get_by_role("region", name="New task")
    await new.get_by_label("Agent").select_option("gardener")
    await new.get_by_label("What is to be done").fill("a garden")
    await new.get_by_label("Rows").fill("3")
    await new.get_by_role("button", name="Submit task").click()


async def answer(page: Page, plant: str) -> None:
    """Tell it what to plant."""
    question = page.get_by_role("form", name="The task asks")
    await expect(question).to_contain_text("What is to be planted?")
    await question.get_by_label("Plant").fill(plant)
    await question.get_by_role("button", name="Answer").click()


async def site_shows(page: Page, text: str) -> None:
    """What the task's site says, in its frame."""
    await page.get_by_role("tab", name="Site").click()
    frame = page.frame_locator('iframe[title="The task\'s site"]')
    await expect(frame.locator("body")).to_have_text(text)


async def test_a_question_is_answered_and_the_site_is_shown(page: Page) -> None:
    """An agent's question is a form of its own schema; its answer lets it go on to a site, in a frame of its own.

    An answer that lacks what is needed is not sent.
    """
    await begin(page)
    await expect(status_of(page)).to_have_text("Asks you")
    await expect(page).to_have_title(re.compile("Asks you: a garden"))
    await page.get_by_role("button", name="Answer").click()
    await answer(page, "tulips")

    await expect(status_of(page)).to_have_text("Completed")
    await expect(screen_of(page)).not_to_contain_text("does not fit")
    await site_shows(page, "tulips")
    frame = page.locator("iframe")
    assert "allow-top-navigation" not in (await frame.get_attribute("sandbox") or "")
    assert not (await frame.get_attribute("src") or "").startswith(page.url.split("#")[0])

    # On a phone, where the tabs don't fit: also those that come with the log are no reason to push it out of sight.
    await page.set_viewport_size({"width": 390, "height": 800})
    await page.goto(page.url.replace("view=site", "view=details"))
    await page.reload()
    await expect(page.get_by_role("tab", name="Site")).to_be_attached()
    await expect(page.get_by_role("tab", name="Details")).to_be_in_viewport(ratio=0.9)


async def test_a_workflow_goes_back_to_a_checkpoint_and_forks(page: Page) -> None:
    """Recover goes on in the same workflow, fork in another; both ask again, and the tree tells whence."""
    await begin(page)
    await answer(page, "roses")
    await expect(status_of(page)).to_have_text("Completed")
    first = page.url

    await page.get_by_role("tab", name="Checkpoints").click()
    await page.get_by_role("button", name="Recover from dug").click()
    await page.wait_for_url(lambda url: url.split("?")[0] != first.split("?")[0])
    await answer(page, "lilies")
    await expect(status_of(page)).to_have_text("Completed")
    await site_shows(page, "lilies")
    await page.get_by_role("tab", name="Checkpoints").click()
    tree = page.get_by_role("region", name="Checkpoints")
    await expect(tree.get_by_text("dug", exact=True)).to_have_count(2)
    await expect(tree.get_by_text("from a checkpoint")).to_have_count(1)

    recovered = page.url
    await tree.get_by_role("button", name="Fork from dug").first.click()
    await page.wait_for_url(lambda url: url.split("?")[0] != recovered.split("?")[0])
    await answer(page, "moss")
    await expect(status_of(page)).to_have_text("Completed")
    await page.get_by_role("tab", name="Details").click()
    await page.get_by_role("definition").get_by_role("link").click()
    await expect(page.get_by_role("link", name="forked from")).to_be_visible()
