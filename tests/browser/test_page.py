"""What a person does on the page, in a real browser against a real gateway."""

from hashlib import sha256
from pathlib import Path

import pytest
from playwright.async_api import Browser, FilePayload, Locator, Page, WebSocketRoute, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

ENDLESS = "n=0; while true; do n=$((n+1)); echo tick $n; sleep 0.1; done"


async def submit(page: Page, commands: str) -> None:
    """Fill in the commands and press the button."""
    await page.get_by_role("link", name="New task").click()
    await page.get_by_label("Commands").fill(commands)
    await page.get_by_role("button", name="Submit task").click()


def status_of(page: Page) -> Locator:
    """The status of the task that the page shows."""
    return page.get_by_role("article").get_by_role("status")


def connection_of(page: Page) -> Locator:
    """The pill that tells of the connection."""
    return page.get_by_test_id("connection")


async def test_a_task_with_a_file_shows_its_lines_its_exit_code_and_why_it_failed(page: Page) -> None:
    """What the commands write arrives by stream, and the end is told in a code and in words."""
    await page.get_by_role("button", name="Add a file").click()
    await page.get_by_label("Name").fill("hello.sh")
    await page.get_by_label("Content").fill("echo to stdout\necho to stderr >&2\nexit 3\n")
    await page.get_by_label("Commands").fill("sh hello.sh")
    await page.get_by_role("button", name="Submit task").click()

    await expect(page.get_by_test_id("exit-code")).to_have_text("exit code 3")
    await expect(status_of(page)).to_have_text("Failed")
    await expect(page.locator(".line-stdout")).to_have_text(["to stdout"])
    await expect(page.locator(".line-stderr")).to_have_text(["to stderr"])
    await expect(page.get_by_text("A command failed with exit code 3")).to_be_visible()


async def test_the_example_runs_by_one_click_and_stands_in_the_list(page: Page) -> None:
    """A newcomer sees real commands run to their end, and finds the task in the list."""
    await page.get_by_role("button", name="Run the example").click()

    await expect(page.get_by_test_id("exit-code")).to_have_text("exit code 0")
    row = page.get_by_role("navigation", name="Tasks").get_by_role("link", name="sh tour.sh")
    await expect(row).to_contain_text("Completed")
    await expect(page.locator(".line-command")).to_have_count(3)


async def test_a_running_task_is_cancelled_from_the_page(page: Page) -> None:
    """Lines arrive while the task runs; cancel stops it, and the page tells when it has."""
    await submit(page, ENDLESS)
    await expect(page.get_by_text("tick 3", exact=True)).to_be_visible()
    await expect(status_of(page)).to_have_text("Running")

    await page.get_by_role("button", name="Cancel", exact=True).click()

    await expect(status_of(page)).to_have_text("Cancelled")
    await expect(page.get_by_role("button", name="Cancel", exact=True)).to_have_count(0)


async def test_a_dropped_connection_is_told_and_resumed_without_losing_a_line(page: Page) -> None:
    """The pill says what the connection is, and every line is there once, in order."""
    sockets: list[WebSocketRoute] = []

    def pass_through(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    await page.route_web_socket("**/ws*", pass_through)
    await page.reload()
    await expect(connection_of(page)).to_have_text("Live")
    await submit(page, "for n in $(seq 1 40); do echo line $n; sleep 0.05; done")
    await expect(page.get_by_text("line 5", exact=True)).to_be_visible()

    await sockets[-1].close(code=1001, reason="cut by the test")

    await expect(connection_of(page)).to_contain_text("lost 0")
    await expect(connection_of(page)).to_contain_text("Live")
    await expect(page.get_by_test_id("exit-code")).to_have_text("exit code 0")
    await expect(page.locator(".line-stdout")).to_have_text([f"line {n}" for n in range(1, 41)])


async def test_a_link_to_a_task_replays_it_from_the_first_line(page: Page, browser: Browser) -> None:
    """A task's address opens it anywhere, also after it has ended."""
    await submit(page, "echo kept")
    await expect(page.get_by_test_id("exit-code")).to_be_visible()

    elsewhere = await browser.new_page()
    await elsewhere.goto(page.url)

    await expect(elsewhere.locator(".line-stdout")).to_have_text(["kept"])
    await expect(elsewhere.get_by_test_id("exit-code")).to_have_text("exit code 0")


async def test_an_open_list_shows_what_is_submitted_elsewhere(
    page: Page, browser: Browser, gateway_url: str
) -> None:
    """The list is live: a task of another tab comes, runs and ends in it without a reload."""
    elsewhere = await browser.new_page()
    await elsewhere.goto(gateway_url)
    await expect(connection_of(elsewhere)).to_have_text("Live")
    row = elsewhere.get_by_role("navigation", name="Tasks").get_by_role("link", name="echo from afar")

    await submit(page, "echo from afar")

    await expect(row).to_contain_text("Completed")


async def test_output_is_never_read_as_markup(page: Page) -> None:
    """What a task writes is text: tags are shown, escape sequences are not."""
    hostile = '<img src="nowhere" onerror="document.title=1">'
    await submit(page, f"printf '\\033[31m%s\\033[0m\\n' '{hostile}'")

    await expect(page.get_by_test_id("exit-code")).to_be_visible()
    await expect(page.locator(".line-stdout")).to_have_text([hostile])
    await expect(page.locator("img")).to_have_count(0)


async def test_a_task_that_is_not_there_is_said_to_be_missing(page: Page, gateway_url: str) -> None:
    """An address that leads nowhere is answered in words."""
    await page.goto(f"{gateway_url}#/tasks/00000000-0000-4000-8000-000000000000")

    await expect(page.get_by_role("heading", name="There is no such task")).to_be_visible()


async def test_a_binary_file_larger_than_a_frame_arrives_whole(page: Page) -> None:
    """What does not fit into one message goes by HTTP, byte for byte."""
    content = bytes(range(256)) * 8192
    upload = FilePayload(name="big.bin", mimeType="application/octet-stream", buffer=content)
    await page.get_by_label("Choose files").set_input_files(files=[upload])
    await expect(page.get_by_text("1 in all, 2.0 MiB")).to_be_visible()
    await page.get_by_label("Commands").fill("sha256sum big.bin")
    await page.get_by_role("button", name="Submit task").click()

    await expect(page.locator(".line-stdout")).to_have_text([f"{sha256(content).hexdigest()}  big.bin"])


@pytest.mark.parametrize("take", ["pick", "drop"])
async def test_a_folder_brings_its_files_and_leaves_out_what_tools_keep_there(
    page: Page, tmp_path: Path, take: str
) -> None:
    """Paths begin inside the folder, whether it is picked or dropped; `.git` and its like stay behind."""
    for path in ("top.txt", "src/deep/b.py", ".git/HEAD"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    if take == "pick":
        await page.get_by_label("Choose a folder").set_input_files(tmp_path)
    else:
        await drop(page, page.get_by_role("group", name="Files"), tmp_path)
    await expect(page.get_by_text("Left out: .git")).to_be_visible()

    await page.get_by_label("Commands").fill("find . -type f | sort")
    await page.get_by_role("button", name="Submit task").click()

    await expect(page.locator(".line-stdout")).to_have_text(["./src/deep/b.py", "./top.txt"])


async def drop(page: Page, target: Locator, folder: Path) -> None:
    """Drag a folder of this machine onto the target, as the desktop would."""
    box = await target.bounding_box()
    assert box is not None
    devtools = await page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": box["x"] + 20, "y": box["y"] + 20, "data": data}
        await devtools.send("Input.dispatchDragEvent", event)
