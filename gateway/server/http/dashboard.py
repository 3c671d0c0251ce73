"""The dashboard's files, as `web/` built them: kept in memory from the start on, as they go out.

They are half a mebibyte, and whoever asks for one costs no file, no thread and no compression.
"""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.server.http.pairings import TAB

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from elsewhere, runs nothing inline, and is shown in nobody's frame."""
ISOLATED: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
"""What a page must say to be `crossOriginIsolated`, without which no runtime starts in it."""
LOCAL_SITES: Final = "http://127.0.0.1:*"
"""Where the sites of a gateway on loopback are: each on a port of its own, which is an origin of its own."""
NOT_BUILT: Final = (
    "The dashboard is not built. `make run` builds it; or first: cd web && npm ci && npm run build\n"
)
MAX_CODINGS_CHARS: Final = 500
"""Of an `Accept-Encoding` that are looked at: browsers send 30."""
LOOKED_AT: Final = {"Cache-Control": "no-cache"}
"""A browser asks whether what it has is still what there is."""
FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
"""An asset's name has its content's hash in it."""


def folder() -> Path:
    """Where the built dashboard lies."""
    return Path(str(resources.files("gateway.server") / "static"))


def policy(preview_host: str | None) -> str:
    """The page's own: it shows the sites of tasks, each on an origin of its own, in frames, and nobody else's."""
    named = "" if preview_host is None else f" http://*.{preview_host}:* https://*.{preview_host}:*"
    return f"{CSP}; frame-src {LOCAL_SITES}{named}"


def tab_policy(runtime_url: str) -> str:
    """That of the tab that is a sandbox: it frames where its runtime comes from, and nothing else."""
    return f"{CSP}; frame-src {runtime_url}"


def add_routes(app: web.Application, preview_host: str | None, runtime_url: str) -> None:
    """Serve the page at `/`, the tab that is a sandbox, and their files below."""
    built = files(folder(), preview_host, runtime_url)
    for path in {"/", TAB, *built}:
        app.router.add_get(path, built[path].handle if path in built else _not_built)


def files(static: Path, preview_host: str | None, runtime_url: str) -> dict[str, "File"]:
    """What was built into that folder, by the path where it is served."""
    isolated = {"Content-Security-Policy": tab_policy(runtime_url), **ISOLATED}
    pages = {
        "index.html": ("/", {"Content-Security-Policy": policy(preview_host)}),
        "sandbox-tab.html": (TAB, isolated),
    }
    found = {}
    for file in (*static.glob("*.*"), *static.glob("assets/*")):
        headers = FOR_EVER if file.parent.name == "assets" else LOOKED_AT
        path, more = pages.get(file.name, (f"/{file.relative_to(static)}", {}))
        found[path] = File(file, {**headers, **more})
    return found


class File:
    """One of them, which goes out with `headers`."""

    def __init__(self, file: Path, headers: Mapping[str, str]) -> None:
        self._body = file.read_bytes()
        kind, _ = mimetypes.guess_type(file.name)
        is_text = kind is None or kind.startswith("text/")
        self._tag = hashlib.sha256(self._body).hexdigest()[:16]
        self._headers = {
            **headers,
            "Content-Type": f"{kind or 'text/plain'}{'; charset=utf-8' * is_text}",
            "ETag": f'W/"{self._tag}"',  # of the content, in whichever coding
            "Vary": "Accept-Encoding",
        }

    async def handle(self, request: web.Request) -> web.Response:
        """Answer with it, or that it is what the asker has."""
        known = request.headers.get("If-None-Match", "")
        if (
            self._tag in known or known == "*"
        ):  # whatever stands around it: it is long enough to be nothing else
            return web.Response(status=304, headers=self._headers)
        if not _takes_gzip(request.headers.get("Accept-Encoding", "")):
            return web.Response(body=self._body, headers=self._headers)
        return web.Response(body=self._gzipped, headers={**self._headers, "Content-Encoding": "gzip"})

    @cached_property
    def _gzipped(self) -> bytes:
        return gzip.compress(self._body, mtime=0)


def _takes_gzip(accepted: str) -> bool:
    """Whether an `Accept-Encoding` names it, and not with a weight of 0 (RFC 9110 section 12.5.3)."""
    for coding in accepted[:MAX_CODINGS_CHARS].split(","):
        name, _, weight = coding.replace(" ", "").lower().partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


async def _not_built(_request: web.Request) -> web.Response:
    return web.Response(text=NOT_BUILT, status=503)
