"""Pictures of the page, to be looked at: `web/test-results/screens`. The README's are among them (`readme-*.png`)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.pages import ROOT, chromium, connection_of, screen_of, status_of, watched_page
from tests.support.web import post

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SCREENS: Final = ROOT / "web/test-results/screens"
WIDTHS: Final = {390: 844, 1024: 768, 1920: 1080}
README_SIZE: Final = {"width": 1180, "height": 720}
AGENTS: Final = {
    "GATEWAY_AGENTS": "gardener=tests.support.own_agents:Gardener",
    "PYTHONPATH": str(ROOT),
}
BUILD: Final = r"""
say() { printf '\033[1m==> %s\033[0m%s\n' "$1" "$2"; }
say collecting ' 128 tests in 9 files'
for part in accounts billing carts catalogue checkout; do
  printf '  tests/%-12s \033[32m..............\033[0m \033[32mpassed\033[0m\n' $part; sleep 0.1
done
printf '  tests/%-12s \033[32m.......\033[33ms\033[32m......\033[0m \033[33m1 skipped\033[0m\n' exports
echo 'warning: exports.py:41 reads a clock' >&2; sleep 0.1
say building ''
for step in $(seq 4 4 100); do
  printf '\r  \033[36m%3d %% ' $step; for i in $(seq $((step / 4))); do printf '█'; done; printf '\033[0m'; sleep 0.02
done
printf '\n  dist/app.js   \033[90m214 kB\033[0m\n  dist/app.css   \033[90m31 kB\033[0m\n'
say 'watching for changes' ''
sleep 600
"""


class Look(NamedTuple):
    """A page, and what is done there before its picture is taken."""

    place: str
    done: Callable[[Page], Awaitable[None]] | None = None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium."""
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def looks(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, dict[str, Look]]]:
    """A gateway's address, and its pages, of tasks that have something to show."""
    async with running_gateway(tmp_path_factory.mktemp("gateway") / "data", env=AGENTS) as gateway:
        for scheme in ("light", "dark"):
            await pictures(browser, gateway.url, {"welcome": Look("#/")}, scheme)
        yield gateway.url, await all_looks(gateway)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_shown(browser: Browser, looks: tuple[str, dict[str, Look]], scheme: Any) -> None:
    """Each page and dialog at three widths, in both schemes, without a complaint of the browser's."""
    await pictures(browser, *looks, scheme)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_readmes_pictures_are_made(
    browser: Browser, looks: tuple[str, dict[str, Look]], scheme: Any
) -> None:
    """Copied to `docs/dashboard-light.png` and `docs/dashboard-dark.png` when the page has changed."""
    url, found = looks
    async with watched_page(browser, url, color_scheme=scheme, viewport=README_SIZE) as page:
        await shoot(page, url, found["running"], SCREENS / f"readme-{scheme}.png")


async def pictures(browser: Browser, url: str, looks: dict[str, Look], scheme: Any) -> None:
    """Of all looks at all widths."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    for width, height in WIDTHS.items():
        size = {"width": width, "height": height}
        async with watched_page(browser, url, color_scheme=scheme, viewport=size) as page:
            for name, look in looks.items():
                await shoot(page, url, look, SCREENS / f"{name}-{width}-{scheme}.png")


async def shoot(page: Page, url: str, look: Look, file: Path) -> None:
    """One page, once nothing moves there any more."""
    await page.goto(f"{url}/{look.place}")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await expect(connection_of(page)).to_have_text("Live")
    if look.done is not None:
        await look.done(page)
    await page.evaluate(
        "() => new Promise((told) => requestAnimationFrame(() => requestAnimationFrame(told)))"
    )
    await page.screenshot(path=file)
    await page.keyboard.press("Escape")


async def all_looks(gateway: GatewayProcess) -> dict[str, Look]:
    """What there is to see, once the tasks that it shows have come so far."""
    for number, (name, team, commands) in enumerate(PAST):
        labels = {"name": name, "team": team, "commit": f"{number * 7919:07x}"}
        await made(gateway, labels=labels, input={"commands": commands})
    tests = {
        "commands": ["mkdir out; date > out/report.txt; head -c 70000 /dev/zero > out/trace.bin", "exit 3"]
    }
    failed = await made(
        gateway,
        labels={"name": "Nightly tests", "team": "shop"},
        input=tests | {"collect": {"globs": ["out/*"]}},
    )
    agent = await made(
        gateway,
        agent="frontend_developer",
        labels={"name": "A page for the bakery"},
        input={"task": "A landing page for a small bakery: opening hours, what is fresh, how to find us"},
    )
    build = {"files": {"ci.sh": BUILD}, "commands": ["sh ci.sh"]}
    running = await made(
        gateway, "background", labels={"name": "Test and build the shop", "team": "shop"}, input=build
    )
    question = await made(gateway, "background", agent="gardener", input={"task": "a garden", "rows": 3})
    await paused_once(gateway, running["task_id"])
    task = f"#/tasks/{agent['task_id']}"
    return {
        "tasks": Look("#/"),
        "new": Look("#/new", an_example),
        "running": Look(f"#/tasks/{running['task_id']}", terminal_shows("watching for changes")),
        "failed": Look(f"#/tasks/{failed['task_id']}", terminal_shows("exit code 3")),
        "files": Look(f"#/tasks/{failed['task_id']}?view=files", tab_is("Files")),
        "site": Look(f"{task}?view=site", site_is_there),
        "checkpoints": Look(f"{task}?view=checkpoints", tab_is("Checkpoints")),
        "details": Look(f"{task}?view=details", chart_is_there),
        "frames": Look(f"{task}?view=frames", first_frame),
        "question": Look(f"#/tasks/{question['task_id']}", asked),
        "workflows": Look("#/workflows"),
        "workflow": Look(f"#/workflows/{agent['workflow_id']}"),
        "sandboxes": Look("#/sandboxes", chart_is_there),
        "missing": Look("#/tasks/none"),
        "palette": Look("#/", pressed("Control+k", "Go anywhere")),
        "help": Look("#/", pressed("?", "Keyboard")),
        "share": Look(f"#/tasks/{failed['task_id']}", pressed("l", "Share this task")),
    }


PAST: Final = [
    ("Lint the shop", "shop", ["echo fine"]),
    ("Resize product pictures", "media", ["sleep 0.4; echo 214 pictures"]),
    ("Render the invoice of April", "billing", ["sleep 0.2; echo done"]),
    ("Check broken links", "web", ["echo 'https://example.org/old is gone' >&2; exit 1"]),
    ("Rebuild the search index", "shop", ["sleep 0.7; echo 18211 documents"]),
    ("Translate release notes", "web", ["echo eleven languages"]),
]
"""Name, team and commands of tasks that have ended."""


async def made(gateway: GatewayProcess, mode: str = "blocking", **body: Any) -> dict[str, Any]:
    """A task; one that was waited for has ended."""
    task: dict[str, Any] = (await post(f"{gateway.url}/v1/tasks", {"mode": mode, **body}))[1]["task"]
    return task


async def paused_once(gateway: GatewayProcess, task_id: str) -> None:
    """Its timeline has something to tell."""
    async with client(gateway.socket_url) as me:
        await me.ask("subscribe", task_id=task_id)
        await me.until_event(task_id, "output")
        await me.ask("pause_task", task_id=task_id)
        await me.until_event(task_id, "status", status="paused")
        await me.ask("resume_task", task_id=task_id)


# --- what is done before a picture --------------------------------------------------------------------


def terminal_shows(text: str) -> Callable[[Page], Awaitable[None]]:
    """The output has come, and is drawn."""

    async def done(page: Page) -> None:
        await expect(screen_of(page)).to_contain_text(text)

    return done


def tab_is(name: str) -> Callable[[Page], Awaitable[None]]:
    """The view of that name is the one that is shown."""

    async def done(page: Page) -> None:
        await expect(page.get_by_role("tab", name=name, selected=True)).to_be_visible()
        await expect(page.get_by_text("Loading…")).to_have_count(0)

    return done


def pressed(key: str, dialog: str) -> Callable[[Page], Awaitable[None]]:
    """The dialog of that key is open."""

    async def done(page: Page) -> None:
        if key == "l":
            await expect(page.get_by_role("button", name="Share")).to_be_visible()
        await page.keyboard.press(key)
        await expect(page.get_by_role("dialog", name=dialog)).to_be_visible()

    return done


async def an_example(page: Page) -> None:
    """The form is filled in."""
    await page.get_by_role("button", name="A web site").click()
    await expect(page.get_by_label("Commands")).to_have_value("serve")


async def site_is_there(page: Page) -> None:
    """The frame has its page."""
    await expect(page.frame_locator("iframe").locator("h1")).to_be_visible()


async def chart_is_there(page: Page) -> None:
    """It is drawn."""
    await expect(page.locator(".chart canvas")).to_be_visible()


async def first_frame(page: Page) -> None:
    """One is open."""
    await page.get_by_role("region", name="Frames").locator("summary").nth(1).click()


async def asked(page: Page) -> None:
    """The agent asks."""
    await expect(status_of(page)).to_have_text("Asks you")
    await expect(page.get_by_role("form", name="The task asks")).to_be_visible()
