"""The double of a WebContainer (`tests/browser/webcontainer`), served from an origin of its own as the vendor's is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.pages import ROOT

HERE: Final = ROOT / "tests/browser/webcontainer"
COMLINK: Final = ROOT / "web/node_modules/comlink/dist/esm/comlink.mjs"
FILES: Final = {
    "/headless": HERE / "headless.html",
    "/double.js": HERE / "double.js",
    "/kernel.js": HERE / "kernel.js",
    "/comlink.mjs": COMLINK,
}
ISOLATED: Final = {
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "no-store",
}


async def _file(request: web.Request) -> web.FileResponse:
    return web.FileResponse(FILES[request.path], headers=ISOLATED)


@asynccontextmanager
async def webcontainer_double() -> AsyncIterator[str]:
    """Its origin, which is another than any gateway's on 127.0.0.1."""
    app = web.Application()
    for path in FILES:
        app.router.add_get(path, _file)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield f"http://localhost:{server.port}"
    finally:
        await server.close()
