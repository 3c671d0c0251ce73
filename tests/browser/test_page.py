"""What a person does on the page, in a real browser against a real gateway."""

import re
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.async_api import Browser, FilePayload, Locator, Page, WebSocketRoute, expect

from tests.support.pages import connection_of, ended, lines_of, screen_of, status_of, submit
from tests.support.processes import until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

ENDLESS = "n=0; while true; do n=$((n+1)); echo tick $n; sleep 0.1; done"


async def test_a_task_with_a_file_shows_its_lines_its_exit_code_and_why_it_failed(page: Page) -> None:
    """What the commands write arrives by stream, and the end is told in a code and in words."""
    await page.get_by_role("link", name="New task").first.click()
    await page.get_by_role("button", name="Add a file").click()
    await page.get_by_label("Path").fill("hello.sh")
    # A byte that no terminal knows is no complaint of the page's, either.
    await page.get_by_label("Content").fill("echo to stdout\nprintf '\\177\\n'\necho to stderr >&2\nexit 3\n")
    await page.get_by_label("Commands").fill("sh hello.sh")
    await page.get_by_role("button", name="Submit task").click()

    await ended(page, 3)
    await expect(status_of(page)).to_have_text("Failed")
    await expect(page.get_by_text("A command failed with exit code 3")).to_be_visible()
    await expect(screen_of(page)).to_contain_text("to stderr")
    assert sorted(await lines_of(page)) == ["to stderr", "to stdout"]


async def test_a_running_task_is_paused_resumed_and_cancelled(page: Page) -> None:
    """Each wish shows once it is true: a paused task stands still, a resumed one goes on, a cancelled one has ended."""
    await submit(page, ENDLESS)
    await expect(screen_of(page)).to_contain_text("tick 3")
    await expect(status_of(page)).to_have_text("Running")

    await page.get_by_role("button", name="Pause", exact=True).click()
    await expect(status_of(page)).to_have_text("Paused")
    still = await lines_of(page)
    await page.get_by_role("button", name="Resume", exact=True).click()
    await expect(status_of(page)).to_have_text("Running")
    await expect(screen_of(page)).to_contain_text(f"tick {len(still) + 2}")

    await page.get_by_role("button", name="Cancel", exact=True).click()
    await expect(status_of(page)).to_have_text("Cancelled")
    await expect(page.get_by_role("button", name="Cancel", exact=True)).to_have_count(0)
    ticks = await lines_of(page)
    assert ticks == [f"tick {n}" for n in range(1, len(ticks) + 1)]


async def test_a_draft_waits_for_its_author(page: Page) -> None:
    """Who looks at another page, or has to sign in again, finds what was written; once it is sent it is gone."""
    new = page.get_by_role("navigation", name="Pages").get_by_role("link", name="New task")
    await new.click()
    await page.get_by_label("Commands").fill("echo drafted")
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Tasks", exact=True).click()
    await new.click()
    await expect(page.get_by_label("Commands")).to_have_value("echo drafted")
    await page.get_by_role("button", name="Submit task").click()
    await ended(page)
    await new.click()
    await expect(page.get_by_label("Commands")).to_have_value("")


async def test_a_line_goes_to_the_standard_input(page: Page) -> None:
    """A task that takes input has a field for it."""
    await page.get_by_role("link", name="New task").first.click()
    await page.get_by_role("button", name="A conversation").click()
    await page.get_by_role("button", name="Submit task").click()
    await expect(screen_of(page)).to_contain_text("What is your name?")
    await page.get_by_label("Standard input").fill("Ada")
    await page.keyboard.press("Enter")

    await ended(page)
    await expect(screen_of(page)).to_contain_text("Hello, Ada.")


async def test_a_lost_network_is_told_and_nothing_is_missed(page: Page) -> None:
    """Offline for a while: the pill says so, then what was resumed; every line is there once, in order."""
    sockets: list[WebSocketRoute] = []
    refused = 0
    is_away = False

    async def pass_through(socket: WebSocketRoute) -> None:
        nonlocal refused
        if is_away:
            refused += 1
            await socket.close(code=1011, reason="no network")
            return
        sockets.append(socket)
        socket.connect_to_server()

    await page.route_web_socket("**/ws*", pass_through)
    await page.reload()
    await expect(connection_of(page)).to_have_text("Live")
    await submit(page, "for n in $(seq 1 60); do echo line $n; sleep 0.05; done")
    await expect(screen_of(page)).to_contain_text("line 5")

    is_away = True
    await sockets[-1].close(code=1001, reason="cut by the test")
    await expect(connection_of(page)).to_contain_text("Offline")
    await until(lambda: refused >= 3, within_s=30, what="three tries without a network")
    is_away = False

    await expect(connection_of(page)).to_contain_text("lost 0")
    await expect(connection_of(page)).to_contain_text("Live")
    await ended(page)
    assert await lines_of(page) == [f"line {n}" for n in range(1, 61)]


async def test_a_link_to_a_task_replays_it_from_the_first_line(page: Page, browser: Browser) -> None:
    """A task's address opens it anywhere, also after it has ended."""
    await submit(page, "echo kept")
    await ended(page)

    elsewhere = await browser.new_page()
    await elsewhere.goto(page.url)

    await ended(elsewhere)
    assert await lines_of(elsewhere) == ["kept"]


async def test_an_open_list_shows_what_is_submitted_elsewhere(
    page: Page, browser: Browser, gateway_url: str
) -> None:
    """The list is live: a task of another tab comes, runs and ends without a reload; filters are in its address."""
    elsewhere = await browser.new_page()
    await elsewhere.goto(f"{gateway_url}#/?status=completed&q=afar")
    await expect(connection_of(elsewhere)).to_have_text("Live")
    await expect(elsewhere.get_by_text("No task fits.")).to_be_visible()
    rows = elsewhere.get_by_role("list", name="Tasks").get_by_role("link")

    await submit(page, "echo from afar")

    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("Completed")
    await elsewhere.get_by_role("button", name="Failed").click()
    await expect(rows).to_have_count(0)
    assert "status=failed" in elsewhere.url


async def test_any_colour_is_shown_under_the_pages_policy(page: Page) -> None:
    """Also one of sixteen million, and that of a line that a search has marked."""
    await submit(page, r"printf '\033[38;2;10;200;30mleaf\033[0m\n'")
    await ended(page)
    await expect(screen_of(page).get_by_text("leaf", exact=True)).to_have_css("color", "rgb(10, 200, 30)")
    await page.get_by_label("Search the output").fill("leaf")
    await page.keyboard.press("Enter")  # the first is the command's
    marked = screen_of(page).get_by_text("leaf", exact=True)
    await expect(marked.last).to_have_css("background-color", "rgb(59, 79, 138)")


async def test_charts_and_frames_tell_how_it_went(page: Page) -> None:
    """Events by the second, frames one by one, the load of the last minutes: all under the page's policy."""
    await submit(page, "echo charted")
    await ended(page)
    await page.get_by_role("tab", name="Details").click()
    await expect(page.get_by_role("img", name="Events over its life").locator("canvas")).to_be_visible()
    await page.get_by_role("tab", name="Frames").click()
    frame = (
        page.get_by_role("region", name="Frames").locator("details").filter(has_text=re.compile(r"output \d"))
    )
    await frame.locator("summary").click()
    await expect(frame.locator("pre")).to_contain_text('"text": "charted\\n"')
    await page.keyboard.press("Escape")
    await page.keyboard.press("s")
    load = page.get_by_role("img", name=re.compile("last 15 minutes: running 0, waiting 0, places now [1-9]"))
    await expect(load.locator("canvas")).to_be_visible()


async def test_a_task_that_is_not_there_is_said_to_be_missing(page: Page, gateway_url: str) -> None:
    """An address that leads nowhere is answered in words."""
    await page.goto(f"{gateway_url}#/tasks/00000000-0000-4000-8000-000000000000")

    await expect(page.get_by_role("heading", name="There is no such task")).to_be_visible()


async def test_a_binary_file_larger_than_a_frame_arrives_whole(page: Page) -> None:
    """What does not fit into one message goes by HTTP, byte for byte."""
    content = bytes(range(256)) * 8192
    upload = FilePayload(name="big.bin", mimeType="application/octet-stream", buffer=content)
    await page.get_by_role("link", name="New task").first.click()
    await page.get_by_label("Choose files").set_input_files(files=[upload])
    await expect(page.get_by_text("1 in all, 2.0 MiB")).to_be_visible()
    await page.get_by_label("Commands").fill("sha256sum big.bin")
    await page.get_by_role("button", name="Submit task").click()

    await ended(page)
    assert await lines_of(page) == [f"{sha256(content).hexdigest()}  big.bin"]


@pytest.mark.parametrize("take", ["pick", "drop"])
async def test_a_folder_brings_its_files_and_leaves_out_what_tools_keep_there(
    page: Page, tmp_path: Path, take: str
) -> None:
    """Paths begin inside the folder, whether it is picked or dropped; `.git` and its like stay behind."""
    for path in ("top.txt", "src/deep/b.py", ".git/HEAD"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    await page.get_by_role("link", name="New task").first.click()
    if take == "pick":
        await page.get_by_label("Choose a folder").set_input_files(tmp_path)
    else:
        await drop(page, page.get_by_role("group", name="Files"), tmp_path)
    await expect(page.get_by_text("Left out: .git")).to_be_visible()

    await page.get_by_label("Commands").fill("find . -type f | sort")
    await page.get_by_role("button", name="Submit task").click()

    await ended(page)
    assert await lines_of(page) == ["./src/deep/b.py", "./top.txt"]


async def drop(page: Page, target: Locator, folder: Path) -> None:
    """Drag a folder of this machine onto the target, as the desktop would."""
    box = await target.bounding_box()
    assert box is not None
    devtools = await page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": box["x"] + 20, "y": box["y"] + 20, "data": data}
        await devtools.send("Input.dispatchDragEvent", event)
