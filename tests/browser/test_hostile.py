"""What a task may try on the page that shows it."""

import pytest
from playwright.async_api import Page, expect

from tests.support.pages import ended, lines_of, screen_of, submit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

TAGS = '<img src="//elsewhere.example/x" onerror="document.title=1"><script>document.title=2</script>'
TRICKS = [
    r"\033]0;owned\007",  # the window's title
    r"\033]52;c;b3duZWQ=\007",  # the clipboard
    r"\033]8;;javascript:alert(1)\033\\click\033]8;;\033\\",  # a link that runs
    r"\033[2J\033[3J\033[H\033c",  # an empty screen, and no history
    r"\033[?1049h\033[?25l",  # another screen
    r"\033[6n\033[c\033]10;?\007",  # a terminal's answers
    r"\033P$qm\033\\\033_x\033\\\033^x\033\\",  # strings without a meaning here
]


async def test_tags_and_escape_sequences_do_nothing(page: Page) -> None:
    """Markup is text; no sequence runs, opens, answers, renames, or takes back what was written."""
    tricks = "; ".join(f"printf '{trick}'" for trick in TRICKS)
    await submit(page, f"echo first\n{tricks}; echo\nprintf '%s\\n' '{TAGS}'; echo last")

    await ended(page)
    await expect(page).to_have_title("Completed: echo first – Gateway")
    lines = await lines_of(page)
    assert [lines[0], *lines[-2:]] == ["first", TAGS, "last"]
    await expect(screen_of(page)).to_contain_text("last")
    await expect(page.locator("main img, main script, .xterm a")).to_have_count(0)
    assert await page.evaluate("1 + 1") == 2  # the page still runs


async def test_a_line_of_a_megabyte_and_text_from_the_right_keep_to_their_place(page: Page) -> None:
    """Neither makes the page wider than its window, nor does right-to-left text turn around what is beside it."""
    rtl = "\u202eevil\u202c שלום עולם"
    await submit(page, f"printf 'x%.0s' $(seq 1 1000000); echo\nprintf '%s\\n' '{rtl}'")

    await ended(page)
    lines = await lines_of(page)
    assert [len(lines[0]), lines[1]] == [1_000_000, rtl]
    await expect(page.get_by_role("heading", level=1)).to_be_in_viewport()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
