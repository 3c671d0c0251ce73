"""A browser's tab as a sandbox: the vendor's client library, unmodified, against a double of what it talks to."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from playwright.async_api import Browser, Route, expect

from gateway.server.http.dashboard import ISOLATED
from tests.support.gateway import GatewayProcess, output_of
from tests.support.node_client import installed, ran
from tests.support.pages import violations
from tests.support.proxy import proxy_to
from tests.support.tabs import (
    Tab,
    client_of,
    got,
    kinds_of,
    link_for,
    opened,
    revoked_in,
    serving,
    submitted,
    token,
)

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def tab(browser: Browser, tabs_gateway: GatewayProcess) -> AsyncIterator[Tab]:
    """A tab of alice's that waits for tasks, which tests share that leave it so."""
    context = await browser.new_context()
    async with serving(context, await link_for(tabs_gateway.url)) as tab:
        yield tab
    await context.close()


# --- what it runs ------------------------------------------------------------------------------------


async def test_tab_runs_its_owners_tasks(tab: Tab, tabs_gateway: GatewayProcess) -> None:
    """Files are there, each command has its own exit code, a character in parts is whole; another's tasks wait."""
    async with client_of(tabs_gateway) as me, client_of(tabs_gateway, "bob") as bob:
        bobs = await submitted(bob, "true")
        files = {"a/b.txt": "héllo ✓\n", "raw.bin": {"base64": "AP/+"}}
        commands: list[Any] = [
            {"argv": ["cat", "a/b.txt"]},
            "crumbs grüße ✓✓",
            {"sh": "printenv WHO; exit 3", "env": {"WHO": "me"}, "cwd": "a", "continue_on_error": True},
            "ls",
        ]
        events = await me.until_ended(await submitted(me, *commands, files=files))
        assert output_of(events) == "héllo ✓\ngrüße ✓✓\nme\na\nraw.bin\n"
        result: dict[str, Any] = events[-1]["data"]["result"]
        assert [command["exit_code"] for command in result["commands"]] == [0, 0, 3, 0]
        assert (result["exit_code"], result["isolation"]["tier"]) == (0, "webcontainer")
        assert (await bob.ask("get_task", task_id=bobs))["task"]["status"] == "pending"
        await bob.ask("cancel_task", task_id=bobs)


async def test_output_comes_while_a_command_runs_and_the_first_that_fails_is_the_last(
    tab: Tab, tabs_gateway: GatewayProcess
) -> None:
    """A watcher sees a tick before the next one; what follows a failure is not started."""
    async with client_of(tabs_gateway) as me:
        task_id = await submitted(me, "tick 3", "false", "echo never")
        await me.until_event(task_id, "output", text="tick 1\n")
        assert not me.has_ended(task_id)
        await expect(tab.page.get_by_test_id("phase")).to_contain_text("Running task")
        events = await me.until_ended(task_id)
        assert output_of(events) == "tick 1\ntick 2\ntick 3\n"
        error = events[-1]["data"]["error"]
        assert (error["code"], error["details"]["exit_code"]) == ("command_failed", 1)
        assert [told["exit_code"] for told in kinds_of(events, "command")] == [None, 0, None, 1]


async def test_task_is_cancelled_and_times_out(tab: Tab, tabs_gateway: GatewayProcess) -> None:
    """What runs is ended; no exit code is made up for it, and the next task has its place."""
    async with client_of(tabs_gateway) as me:
        task_id = await submitted(me, "echo begun; sleep 600")
        await me.until_event(task_id, "output")
        await me.ask("cancel_task", task_id=task_id)
        assert (await me.until_ended(task_id))[-1]["data"]["status"] == "cancelled"
        late = [{"sh": "sleep 600", "timeout_s": 0.2, "continue_on_error": True}, "echo after"]
        events = await me.until_ended(await submitted(me, *late))
        assert output_of(events) == "after\n"
        ends = [(told["exit_code"], told.get("reason")) for told in kinds_of(events, "command")]
        assert ends[1] == (None, "timeout")
        for limits in ({"timeout_s": 0.3}, {"idle_s": 0.3}):
            events = await me.until_ended(await submitted(me, "sleep 600", limits=limits))
            assert events[-1]["data"]["error"]["code"] == "timeout"


async def test_what_does_not_die_ends_with_the_runtime(tab: Tab, tabs_gateway: GatewayProcess) -> None:
    """A process that outlives its kill costs the runtime, which begins anew; the next task finds nothing of it."""
    async with client_of(tabs_gateway) as me:
        stubborn = await submitted(me, "stubborn", files={"old": ""}, limits={"timeout_s": 0.3})
        events = await me.until_ended(stubborn)
        assert events[-1]["data"]["error"]["code"] == "timeout"
        events = await me.until_ended(await submitted(me, "echo new; ls"))
        assert (events[-1]["data"]["status"], output_of(events)) == ("completed", "new\n")


async def test_output_is_bounded_and_what_is_left_out_is_said(tab: Tab, tabs_gateway: GatewayProcess) -> None:
    """Past the limit there is a gap, then its count and the last 64 KiB; below it not a line is missing."""
    async with client_of(tabs_gateway) as me:
        events = await me.until_ended(await submitted(me, "spill 10000"))
        lines = output_of(events).splitlines()
        assert [int(line.strip(".")) for line in lines] == list(range(1, 10_001))
        limited = await submitted(me, "spill 10000", limits={"output_bytes": 100_000})
        events = await me.until_ended(limited)
        gaps = [(gap["reason"], gap["dropped_bytes"]) for gap in kinds_of(events, "output_gap")]
        shown = len(output_of(events))
        assert gaps == [("limit", None), ("limit", 1_000_000 - shown)]
        assert (shown, output_of(events)[-6:]) == (100_000 + 65_536, "10000\n")
        assert events[-1]["data"]["result"]["commands"][0]["truncated"]


async def test_task_reads_what_it_is_sent_and_its_terminal_is_resized(
    tab: Tab, tabs_gateway: GatewayProcess
) -> None:
    """Input goes to the command that runs, up to its end; a size to the terminal of the one that has one."""
    async with client_of(tabs_gateway) as me:
        task_id = await submitted(
            me, "parrot", {"sh": "stretch", "tty": {"cols": 80, "rows": 24}}, stdin=True
        )
        await me.ask("send_input", task_id=task_id, data="one ")
        await me.ask("send_input", task_id=task_id, data="two\n", eof=True)
        await me.until_event(task_id, "output", text="now 80\n")
        await me.ask("resize", task_id=task_id, cols=120, rows=40)
        assert output_of(await me.until_ended(task_id)) == "heard one two\nnow 80\nthen 120x40\n"


async def test_files_come_back(tab: Tab, tabs_gateway: GatewayProcess) -> None:
    """Those that match, with their hashes, byte for byte; large ones in pieces, both ways."""
    async with client_of(tabs_gateway) as me:
        files = {"big.txt": "0123456789" * 60_000, "in/raw.bin": {"base64": "AP/+"}, "out.md": ""}
        globs = ["*.txt", "in/*.b[hi]n", "made"]
        collect = {"globs": globs}
        task_id = await submitted(me, "echo new > made", files=files, collect=collect)
        events = await me.until_ended(task_id)
        listed = {file["path"]: file["size"] for file in events[-1]["data"]["result"]["files"]}
        assert listed == {"big.txt": 600_000, "in/raw.bin": 3, "made": 4}
        for path, content in (("big.txt", b"0123456789" * 60_000), ("in/raw.bin", b"\0\xff\xfe")):
            told = await got(tabs_gateway, f"/v1/tasks/{task_id}/files/{path}", tab.owner_token)
            assert told == (200, content)


async def test_site_is_shown_to_this_browser_alone(tab: Tab, tabs_gateway: GatewayProcess) -> None:
    """`serve` puts the folder up, and the site stays when its task has ended; its address is the browser's own."""
    async with client_of(tabs_gateway) as me:
        files = {"index.html": "<h1>hi</h1>", "deep/a.css": "a {}"}
        events = await me.until_ended(await submitted(me, "serve", files=files))
        (ready,) = kinds_of(events, "server_ready")
        result = events[-1]["data"]["result"]
        assert (ready["scope"], ready["url"], result["status"]) == ("browser", result["url"], "completed")
        for path, status, text in (
            ("/", 200, "<h1>hi</h1>"),
            ("/deep/a.css?v=1", 200, "a {}"),
            ("/../../../x", 404, "There is nothing at that address.\n"),
        ):
            said = await tab.runtime.evaluate(
                "([port, path]) => kernel.get(port, path)", [ready["port"], path]
            )
            assert (said["status"], said["text"]) == (status, text)
        # A command that listens is noticed, and ends with its task.
        listening = await submitted(me, "listen 3000", limits={"timeout_s": 0.5})
        events = await me.until_ended(listening)
        assert [(told["port"], told["scope"]) for told in kinds_of(events, "server_ready")] == [
            (3000, "browser")
        ]
        assert await tab.runtime.evaluate("[...kernel.sites.keys()]") == [ready["port"]]


async def test_limits_that_a_tab_can_not_hold_are_refused(tab: Tab, tabs_gateway: GatewayProcess) -> None:
    """Nothing is promised that nobody keeps; the sandbox's own words say what it can do."""
    async with client_of(tabs_gateway) as me:
        for limits in (
            {"memory_mb": 64},
            {"cpu_s": 1},
            {"processes": 4},
            {"disk_mb": 8},
            {"network": "none"},
        ):
            events = await me.until_ended(await submitted(me, "true", limits=limits))
            assert events[-1]["data"]["error"]["code"] == "bad_input"
    _, listed = await got(tabs_gateway, "/v1/sandboxes", tab.owner_token)
    (said,) = json.loads(listed)["sandboxes"]
    assert (said["runtime"], said["trust"], said["subject"]) == ("webcontainer", "client", "alice")
    assert sorted(said["capabilities"]) == ["collect", "serve", "stdin", "tty"]


# --- sockets and pages that go and come back ------------------------------------------------------------


async def test_task_outlives_a_dropped_socket(browser: Browser, tabs_gateway: GatewayProcess) -> None:
    """The tab comes back, and goes on in the same attempt: not a line is missing or doubled."""
    address = urlsplit(tabs_gateway.url)
    async with (
        proxy_to(str(address.hostname), address.port or 0) as network,
        client_of(tabs_gateway, "dave") as me,
    ):
        link = (await link_for(tabs_gateway.url, "dave")).replace(f":{address.port}", f":{network.port}")
        async with serving(browser, link):
            task_id = await submitted(me, "tick 20")
            for tick in (3, 9):
                await me.until_event(task_id, "output", text=f"tick {tick}\n")
                network.cut_all()
            events = await me.until_ended(task_id)
    assert output_of(events) == "".join(f"tick {n}\n" for n in range(1, 21))
    assert [told["attempt"] for told in kinds_of(events, "status")][-1] == 1


async def test_task_of_a_reloaded_tab_begins_again_there(
    browser: Browser, tabs_gateway: GatewayProcess
) -> None:
    """What ran is gone with the page, and told as lost; the tab comes back by itself, and is given the files anew."""
    link = await link_for(tabs_gateway.url, "erin")
    async with client_of(tabs_gateway, "erin") as me, serving(browser, link) as tab:
        task_id = await submitted(me, "cat a.txt; sleep 3", files={"a.txt": "kept\n"})
        await me.until_event(task_id, "output")
        await tab.page.reload()
        events = await me.until_ended(task_id)
        assert output_of(events) == "kept\nkept\n"
        told = [(s["status"], s["attempt"], s.get("reason")) for s in kinds_of(events, "status")]
        assert ("pending", 1, "sandbox_lost") in told
        assert told[-1][:2] == ("completed", 2)
        await expect(tab.page.get_by_test_id("done")).to_have_text("1")


# --- who may be a sandbox ---------------------------------------------------------------------------------


async def test_link_makes_one_tab_a_sandbox_and_leaves_the_address(
    browser: Browser, tabs_gateway: GatewayProcess
) -> None:
    """Nothing starts before its person agrees to whose it will be; used again, or never good, the link is refused."""
    link = await link_for(tabs_gateway.url)
    async with opened(browser, link) as tab:
        await tab.is_in("consent")
        await expect(tab.page).to_have_url(f"{tabs_gateway.url}/sandbox-tab")
        await expect(tab.page.get_by_test_id("owner")).to_have_text("alice")
        for words in ("on this machine", "servers", "Commercial use needs a licence"):
            await expect(tab.page.get_by_role("main")).to_contain_text(words)
        assert await violations(tab.page) == []
        assert len(tab.page.frames) == 1
    for bad in (link, f"{tabs_gateway.url}/sandbox-tab#pairing.x.y.z"):
        async with opened(browser, bad) as tab:
            await tab.is_in("expired")
            await expect(tab.page.get_by_role("status")).to_contain_text("make a new one")
    async with opened(browser, f"{tabs_gateway.url}/sandbox-tab") as tab:
        await tab.is_in("unpaired")


async def test_tabs_token_opens_nothing_else(browser: Browser, tabs_gateway: GatewayProcess) -> None:
    """Neither the client's socket nor HTTP. It is revoked with the token that made the link; a new link goes on."""
    async with serving(browser, await link_for(tabs_gateway.url, "frank", jti="stolen")) as tab:
        own = await tab.page.evaluate("JSON.parse(sessionStorage['gateway.tab']).token")
        for path in ("/v1/tasks", "/v1/sandboxes", "/v1/whoami"):
            assert (await got(tabs_gateway, path, own))[0] == 401
        revoked_in(tabs_gateway.data_dir.parent).write_text("jti stolen\n")
        await tab.is_in("expired")
        fresh = await link_for(tabs_gateway.url, "frank")
        await tab.page.evaluate("hash => { location.hash = hash }", urlsplit(fresh).fragment)
        await tab.is_in("waiting")


async def test_one_tab_of_a_browser_is_the_sandbox(browser: Browser, tabs_gateway: GatewayProcess) -> None:
    """A second one stands by, and takes over when the first is closed."""
    context = await browser.new_context()
    links = [await link_for(tabs_gateway.url) for _ in range(2)]
    async with serving(context, links[0]) as first, opened(context, links[1]) as second:
        await second.agree()
        await second.is_in("standby")
        await first.page.close()
        await second.is_in("waiting")
    await context.close()


async def test_page_that_is_not_isolated_says_so(browser: Browser, tabs_gateway: GatewayProcess) -> None:
    """Headers that a proxy has lost are named; nothing is started, and the link stays good."""
    link = await link_for(tabs_gateway.url)
    context = await browser.new_context()

    async def strip(route: Route) -> None:
        answer = await route.fetch()
        kept = {name: value for name, value in answer.headers.items() if not name.startswith("cross-origin")}
        await route.fulfill(response=answer, headers=kept)

    await context.route("**/sandbox-tab", strip)
    async with opened(context, link) as tab:
        await tab.is_in("unsupported")
        for header in ISOLATED:
            await expect(tab.page.get_by_role("status")).to_contain_text(header)
    await context.close()
    async with opened(browser, link) as tab:
        await tab.is_in("consent")


async def test_only_that_page_is_isolated_and_frames_the_runtime(tabs_gateway: GatewayProcess) -> None:
    """The dashboard has neither its headers nor its frames."""
    async with (
        ClientSession(tabs_gateway.url) as http,
        http.get("/sandbox-tab") as tab,
        http.get("/") as dashboard,
    ):
        assert ISOLATED.items() <= tab.headers.items()
        assert not ISOLATED.keys() & dashboard.headers.keys()
        policies = [answer.headers["Content-Security-Policy"] for answer in (tab, dashboard)]
    assert ["frame-src http://localhost:" in policy for policy in policies] == [True, False]


async def test_runtime_that_does_not_come_is_told_of(browser: Browser, tabs_gateway: GatewayProcess) -> None:
    """The library would wait for ever; the tab says after a while what may be the matter."""
    async with opened(browser, await link_for(tabs_gateway.url)) as tab:
        await tab.page.clock.install()
        await tab.page.route("**/headless*", lambda route: route.abort())
        async with tab.page.expect_request("**/headless*"):
            await tab.agree()
        await tab.page.clock.run_for(30_000)
        await tab.is_in("failed")
        await expect(tab.page.get_by_role("status")).to_contain_text("not there after 30 seconds")


FOLLOWS: Final = """
import { connect } from "sentient-gateway-client";

const session = connect({ url: process.env.GATEWAY_URL, token: () => process.env.GATEWAY_TOKEN });
const submitted = (...commands) => session.submit({ input: { commands, sandbox: { runtime: "webcontainer" } } });
const task = await submitted("tick 2", "serve");
for await (const { event, data } of task) {
  if (event === "output") console.log(data.text.trim());
  if (event === "server_ready") console.log(data.scope);
}
const endless = await submitted("echo begun; sleep 600");
for await (const { event } of endless) if (event === "output") await endless.cancel();
console.log((await task.get()).status, (await endless.get()).status);
session.close();
"""


async def test_tab_is_used_by_the_client_package(
    tab: Tab, tabs_gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Submit, `for await`, serve and cancel, as a program in Node does it that has installed the client."""
    env = {"GATEWAY_URL": tabs_gateway.url, "GATEWAY_TOKEN": tab.owner_token}
    told = await ran(installed(tmp_path), FOLLOWS, **env)
    assert told == ["tick 1", "tick 2", "browser", "completed cancelled"]


async def test_dashboard_makes_the_link(browser: Browser, tabs_gateway: GatewayProcess) -> None:
    """Its button gives a link; the tab that opens it is among the sandboxes as soon as it has started."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{tabs_gateway.url}/#/sandboxes&token={token('grace')}")
    await page.get_by_role("button", name="Use a tab").click()
    link = await page.get_by_role("link", name="Open the tab").get_attribute("href")
    async with serving(context, str(link)):
        await expect(page.locator("li").get_by_text("on grace's own machine")).to_be_visible()
        assert await violations(page) == []
    await context.close()
