"""What is shown of a site, and where it is looked for: over a real store and bridges to a fake sandbox."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.agents.sandboxes import Sandboxes
from gateway.agents.sites import (
    MAX_SITES,
    OTHERS_S,
    REQUESTS_PER_SITE,
    NoSiteError,
    RunSites,
    Sites,
    Way,
    port_of,
)
from gateway.server import logs
from gateway.sites import Site, hash_of
from gateway.task_changes import cancelled, completed
from gateway.tasks import Desire, TaskRecord
from sandbox_bridge.bridge import Bridge
from sandbox_bridge.pool import Pool
from tests.support.agents import Context
from tests.support.bridges import connected, until
from tests.support.fake_sandbox import FakeSandbox
from tests.support.records import fence_of
from tests.support.waiting import let_pass
from tests.support.work import Bench, bench

pytestmark = pytest.mark.looptime

PREVIEWS = "preview.test"
IDLE_S = 900.0


@dataclass
class Scene:
    """A task that runs in a fake sandbox, which was dialled at 127.0.0.1."""

    bench: Bench
    fake: FakeSandbox
    bridge: Bridge
    sites: Sites
    task: TaskRecord

    def of_run(self) -> RunSites:
        """The sites of the task's run."""
        context = Context(bridge=self.bridge, given={})
        context.task = self.task
        return self.sites.of(context, self.bridge)

    async def label(self, url: str = "http://127.0.0.1:4000/") -> str:
        """The label of a new site."""
        shown = (await self.of_run().in_progress({"kind": "server_ready", "url": url}))["url"]
        return str(urlsplit(shown).hostname).partition(".")[0]

    async def status_of(self, label: str) -> int:
        """What who comes for it is told."""
        try:
            await self.sites.find(label, may_hop=False)
        except NoSiteError as error:
            return error.status
        return 200


@asynccontextmanager
async def scene(folder: Path, **options: Any) -> AsyncIterator[Scene]:
    """One, with what differs of its `Sites`."""
    async with (
        bench(folder) as made,
        FakeSandbox(listen=False, sandbox_id="s", boot_id="b") as fake,
        connected(fake.dial) as bridge,
    ):
        pool = Pool()
        pool.add(bridge)
        given: dict[str, Any] = {
            "hosts": {"test": "127.0.0.1"},
            "preview_host": PREVIEWS,
            "on_loopback": True,
            "idle_s": IDLE_S,
            "log": logs.get(),
        }
        sites = Sites(made.store, Sandboxes(pool, instance="i"), made.clock, **(given | options))
        yield Scene(made, fake, bridge, sites, await made.running())


async def test_site_is_named_below_the_preview_host_once(tmp_path: Path) -> None:
    """The same URL is the same label, in event and result; what is kept of it is its hash, and where it is."""
    said = {"kind": "server_ready", "url": "http://evil.example:4000/path", "port": 3000}
    async with scene(tmp_path) as on:
        run = on.of_run()
        shown = await run.in_progress(said)
        assert (await run.in_result({"url": said["url"], "a": 1})) == {"url": shown["url"], "a": 1}
        label = shown["url"].removeprefix("https://").removesuffix(f".{PREVIEWS}/")
        assert (len(label), int(label, 16) >= 0, shown["scope"]) == (32, True, "gateway")
        # Never the host that the sandbox named: the one that was dialled.
        assert await on.sites.find(label, may_hop=True) == Way("http://127.0.0.1:4000")
        kept = await on.bench.store.find_site(hash_of(label))
        assert isinstance(kept, Site)
        assert label not in repr(kept)
        other = await on.of_run().in_progress(said)
        assert other["url"] != shown["url"]


async def test_progress_and_results_without_a_site_stay(tmp_path: Path) -> None:
    """Nothing is added where nothing was said."""
    async with scene(tmp_path) as on:
        run = on.of_run()
        assert await run.in_progress({"kind": "output", "url": "x"}) == {"kind": "output", "url": "x"}
        assert await run.in_result(None) is None
        assert await run.in_result({"url": None}) == {"url": None}


@pytest.mark.parametrize(
    "url", [None, 1, "", "ftp://x/", "https://x/", "http://[", "http://x:99999/", "x" * 3000]
)
async def test_address_that_is_none_is_not_shown(tmp_path: Path, url: Any) -> None:
    """Whatever a sandbox says; ours speak plain HTTP."""
    async with scene(tmp_path) as on:
        assert (await on.of_run().in_progress({"kind": "server_ready", "url": url}))["url"] is None


async def test_one_run_can_not_fill_the_store(tmp_path: Path) -> None:
    """A sandbox that tells of site after site is shown some."""
    async with scene(tmp_path) as on:
        run = on.of_run()
        shown = [
            (await run.in_result({"url": f"http://x:{n}/"}) or {})["url"] for n in range(1, MAX_SITES + 5)
        ]
        assert sum(url is not None for url in shown) == MAX_SITES


async def test_site_without_a_name_is_shown_on_loopback_alone(tmp_path: Path) -> None:
    """As it is there, and not at all elsewhere: on another machine it would be another's."""
    url = "http://127.0.0.1:4000/"
    async with scene(tmp_path, preview_host=None) as on:
        assert (await on.of_run().in_result({"url": url})) == {"url": url}
    (tmp_path / "public").mkdir()
    async with scene(tmp_path / "public", preview_host=None, on_loopback=False) as on:
        assert (await on.of_run().in_result({"url": url})) == {"url": None}


async def test_sandbox_that_was_not_dialled_is_not_forwarded_to(tmp_path: Path) -> None:
    """Whatever it names: there is no host that we chose."""
    async with scene(tmp_path, hosts={}) as on:
        assert await on.status_of(await on.label()) == 410


async def test_label_is_over_with_its_task_and_its_sandbox(tmp_path: Path) -> None:
    """Unknown, of a task that failed, idle for too long after its end, or of a former start: each is told."""
    async with scene(tmp_path) as on:
        label = await on.label()
        assert (await on.status_of(label), await on.status_of("0" * 32)) == (200, 404)
        await let_pass(10 * IDLE_S)
        assert await on.status_of(label) == 200, "its task still runs"
        await finish(on)
        await let_pass(IDLE_S - 1)
        assert await on.status_of(label) == 200
        await let_pass(IDLE_S - 1)
        assert await on.status_of(label) == 200, "somebody has asked in between"
        await let_pass(IDLE_S + 1)
        assert await on.status_of(label) == 410


async def test_label_of_a_former_start_is_over(tmp_path: Path) -> None:
    """What is on the port of a sandbox that has restarted may be anybody's."""
    async with scene(tmp_path) as on:
        label = await on.label()
        on.fake.boot_id = "other"
        on.fake.drop()
        await until(lambda: on.bridge.info is not None and on.bridge.info.boot_id == "other")
        assert await on.status_of(label) == 410


async def test_label_of_a_cancelled_task_is_over(tmp_path: Path) -> None:
    """Its session was closed with it."""
    async with scene(tmp_path) as on:
        label = await on.label()
        await on.bench.store.change_task(
            on.task.task_id,
            lambda row: cancelled(row, now_ms=on.bench.clock.now_ms()),
            fence=fence_of(on.task),
        )
        assert await on.status_of(label) == 410


async def test_sweep_forgets_what_is_over_and_keeps_what_is_used(tmp_path: Path) -> None:
    """A request that goes on is a use, however long."""
    async with scene(tmp_path) as on:
        used, idle = await on.label(), await on.label("http://127.0.0.1:4001/")
        await finish(on)
        await let_pass(IDLE_S + 1)
        with on.sites.used(used):
            await on.sites._sweep()
        assert await on.bench.store.find_site(hash_of(idle)) is None
        assert await on.status_of(used) == 200
        await until(lambda: on.fake.count("close_session") == 1)


async def test_site_of_a_sandbox_that_is_away_is_closed_when_it_is_back(tmp_path: Path) -> None:
    """Nobody is told before, and nothing is forgotten meanwhile."""
    async with scene(tmp_path) as on:
        label = await on.label()
        assert await on.status_of(label) == 200
        await finish(on)
        await let_pass(IDLE_S + 1)
        on.fake.drop()
        await until(lambda: on.bridge.info is None)
        await on.sites._sweep()
        assert await on.bench.store.find_site(hash_of(label)) is not None
        await until(lambda: on.bridge.info is not None, within_s=60)
        await on.sites._sweep()
        assert await on.bench.store.find_site(hash_of(label)) is None
        await until(lambda: on.fake.count("close_session") == 1)


async def test_one_site_has_so_many_requests_at_once(tmp_path: Path) -> None:
    """One more is told to come again, and others are not held up."""
    async with scene(tmp_path) as on:
        one, other = await on.label(), await on.label()
        with ExitStack() as held:
            for _ in range(REQUESTS_PER_SITE):
                held.enter_context(on.sites.used(one))
            with pytest.raises(NoSiteError) as caught:
                held.enter_context(on.sites.used(one))
            assert caught.value.status == 503
            held.enter_context(on.sites.used(other))
        with on.sites.used(one):
            pass


HERE, THERE = "http://here:8080", "http://there:8080"


def of_another(on: Scene) -> Sites:
    """The sites of another instance over the same store, without a sandbox."""
    sandboxes = Sandboxes(Pool(), instance="other")
    given: dict[str, Any] = {"hosts": {}, "preview_host": PREVIEWS, "on_loopback": True, "idle_s": IDLE_S}
    sites = Sites(on.bench.store, sandboxes, on.bench.clock, **given, log=logs.get())
    sites.here = THERE
    return sites


async def test_site_that_only_its_holder_reaches_is_asked_for_by_way_of_it(tmp_path: Path) -> None:
    """Once: whoever was asked by another instance hands nothing on, and the holder asks nobody."""
    async with scene(tmp_path) as on:
        on.sites.here = HERE
        label = await on.label()
        other = of_another(on)
        assert await other.find(label, may_hop=True) == Way(HERE, is_hop=True)
        for sites, may_hop in ((other, False), (on.sites, True)):
            if sites is on.sites:
                on.fake.boot_id = "other"
                on.fake.drop()
                await until(lambda: on.bridge.info is not None and on.bridge.info.boot_id == "other")
            with pytest.raises(NoSiteError) as caught:
                await sites.find(label, may_hop=may_hop)
            assert caught.value.status == 410


async def test_site_of_another_instance_is_swept_by_it_alone(tmp_path: Path) -> None:
    """It has the session to close; only what it leaves for long is forgotten by the others."""
    async with scene(tmp_path) as on:
        on.sites.here = HERE
        label, other = await on.label(), of_another(on)
        await finish(on)
        await let_pass(IDLE_S + 1)
        await other._sweep()
        assert await on.bench.store.find_site(hash_of(label)) is not None
        await let_pass(OTHERS_S)
        await other._sweep()
        assert await on.bench.store.find_site(hash_of(label)) is None


async def finish(on: Scene) -> None:
    """The task has completed."""
    done = lambda row: completed(row, {}, now_ms=on.bench.clock.now_ms())  # noqa: E731
    on.task = await on.bench.store.change_task(on.task.task_id, done, fence=fence_of(on.task))
    assert on.task.desire is Desire.RUN


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://a/", 80), ("http://a:8/x", 8), ("https://a/", None), ("http://:1/", None), ("http://a:0/", 80)],
)
def test_port_of_an_address(url: str, port: int | None) -> None:
    """Of plain HTTP alone."""
    assert port_of(url) == port
