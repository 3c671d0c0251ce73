"""The page's policy, and its files as they go out."""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDictProxy

from gateway.server.http.dashboard import files, policy

SCRIPT = b"const a = 1;\n" * 1000


@pytest.mark.parametrize("host", [None, "preview.example"])
def test_policy_allows_nothing_inline_and_frames_nothing_but_sites_of_tasks(host: str | None) -> None:
    """No script or style but our files; frames only for addresses that a gateway gives to sites, never for itself."""
    rules = dict(rule.strip().split(" ", 1) for rule in policy(host).split(";"))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy(host)
    named = [] if host is None else [f"http://*.{host}:*", f"https://*.{host}:*"]
    assert re.split(" +", rules["frame-src"]) == ["http://127.0.0.1:*", *named]


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[ClientSession]:
    """A client of what was built into a folder that is gone by now."""
    built = {
        "index.html": b"<!doctype html>",
        "sandbox-tab.html": b"<p>",
        "icon.svg": b"<svg/>",
        "assets/index-C0FFEE.js": SCRIPT,
    }
    (tmp_path / "assets").mkdir()
    for name, body in built.items():
        (tmp_path / name).write_bytes(body)
    app = web.Application()
    for path, file in files(tmp_path, None, "https://runtime.example").items():
        app.router.add_get(path, file.handle)
    for name in built:
        (tmp_path / name).unlink()
    async with TestServer(app) as server, ClientSession(server.make_url("/"), auto_decompress=False) as made:
        yield made


async def asked(
    http: ClientSession, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, CIMultiDictProxy[str]]:
    """Status, body and headers of an answer; `Accept-Encoding` is as said, or nothing."""
    named = {name.replace("_", "-"): value for name, value in {"Accept_Encoding": "", **headers}.items()}
    async with http.request(method, path, headers=named) as answer:
        return answer.status, await answer.read(), answer.headers


@pytest.mark.parametrize(
    ("path", "kind", "is_for_ever"),
    [
        ("/", "text/html; charset=utf-8", False),
        ("/sandbox-tab", "text/html; charset=utf-8", False),
        ("/icon.svg", "image/svg+xml", False),
        ("/assets/index-C0FFEE.js", "text/javascript; charset=utf-8", True),
    ],
)
async def test_file_says_what_it_is_and_for_how_long(
    http: ClientSession, path: str, kind: str, is_for_ever: bool
) -> None:
    """What has its content's hash in its name is never asked for again, all else each time."""
    status, body, headers = await asked(http, path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert ("immutable" in headers["Cache-Control"]) == is_for_ever
    assert (headers["Cache-Control"] == "no-cache") != is_for_ever
    assert headers["Content-Length"] == str(len(body))
    head = await asked(http, path, "HEAD")
    assert head[:2] == (200, b"")
    assert head[2]["Content-Length"] == headers["Content-Length"]
    assert ("Content-Security-Policy" in headers) == kind.startswith("text/html")
    assert ("Cross-Origin-Embedder-Policy" in headers) == (path == "/sandbox-tab")


@pytest.mark.parametrize(
    ("accepted", "is_gzipped"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP; q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("br, x-gzip-like", False),
        ("", False),
    ],
)
async def test_file_is_compressed_for_who_takes_that(
    http: ClientSession, accepted: str, is_gzipped: bool
) -> None:
    """What a cache between us keeps is told apart by it."""
    _, body, headers = await asked(http, "/assets/index-C0FFEE.js", Accept_Encoding=accepted)
    assert headers.get("Content-Encoding") == ("gzip" if is_gzipped else None)
    assert (gzip.decompress(body) if is_gzipped else body) == SCRIPT
    assert "Accept-Encoding" in headers["Vary"]


async def test_who_has_it_is_told_so(http: ClientSession) -> None:
    """Whatever coding it has it in, and also by a cache that made the tag weak; another's tag gets it anew."""
    tags = {
        (await asked(http, "/", Accept_Encoding=coding))[2]["ETag"] for coding in ("gzip", "", "identity")
    }
    assert len(tags) == 1
    tag = tags.pop()
    for known in (tag, tag.removeprefix("W/"), f'"another", {tag}', "*"):
        status, body, headers = await asked(http, "/", If_None_Match=known)
        assert (status, body, headers["ETag"]) == (304, b"", tag)
        assert "Content-Security-Policy" in headers
    assert (await asked(http, "/", If_None_Match='"another"'))[0] == 200
    other = (await asked(http, "/sandbox-tab"))[2]["ETag"]
    assert (await asked(http, "/", If_None_Match=other))[0] == 200
