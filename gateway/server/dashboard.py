"""The dashboard's files, as `web/` built them."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.server.pairings import TAB

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
NOT_BUILT: Final = "The dashboard is not built. `make run` builds it; or: cd web && npm ci && npm run build\n"


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
    app.router.add_get("/", _page("index.html", {"Content-Security-Policy": policy(preview_host)}))
    isolated = {"Content-Security-Policy": tab_policy(runtime_url), **ISOLATED}
    app.router.add_get(TAB, _page("sandbox-tab.html", isolated))
    static = folder()
    if (static / "assets").is_dir():
        app.router.add_static("/assets", static / "assets")
    for extra in static.glob("*.*"):
        if extra.suffix != ".html":
            app.router.add_get(f"/{extra.name}", _file(extra))


def _page(name: str, headers: Mapping[str, str]) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        page = folder() / name
        if not page.is_file():
            return web.Response(text=NOT_BUILT, status=503)
        return web.FileResponse(page, headers={**headers, "Cache-Control": "no-cache"})

    return handler


def _file(path: Path) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return handler
