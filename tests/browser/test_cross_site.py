"""A page of somebody else's, in the browser of somebody who uses a gateway: it gets nowhere."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser

from tests.support.gateway import client

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

TRIES: Final = """async (gateway) => {
  const told = {};
  const socket = (path, protocols) => new Promise((done) => {
    const tried = new WebSocket(gateway.replace("http", "ws") + path, protocols);
    tried.onopen = () => done("open");
    tried.onerror = () => done("refused");
  });
  told.socket = await socket("/ws", ["gateway.v1"]);
  told.sandbox = await socket("/sandbox", ["sandbox.v1"]);
  const asked = async (path, options) => {
    try { return (await fetch(gateway + path, options)).status; } catch { return "refused"; }
  };
  const body = JSON.stringify({ input: { commands: ["true"] }, labels: { by: "another site" } });
  const json = { "Content-Type": "application/json" };
  told.read = await asked("/v1/tasks", { credentials: "include" });
  told.simple = await asked("/v1/tasks", { method: "POST", body });
  told.asked = await asked("/v1/tasks", { method: "POST", body, headers: json });
  await asked("/v1/tasks", { method: "POST", body, mode: "no-cors" });
  const form = document.createElement("form");
  const frame = document.createElement("iframe");
  Object.assign(frame, { name: "target", src: gateway });
  Object.assign(form, { action: gateway + "/v1/tasks", method: "POST", enctype: "text/plain", target: "target" });
  form.innerHTML = `<input name='{"input":{"commands":["true"]},"labels":{"by":"form' value='"}}'>`;
  document.body.append(frame, form);
  await new Promise((done) => { frame.onload = done; form.submit(); });
  try { told.framed = frame.contentDocument !== null; } catch { told.framed = "refused"; }
  return told;
}"""


class _Page(http.server.BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        """Answer any request."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def another_site() -> Iterator[int]:
    """The port of a site on this machine that is not the gateway's: to a browser the same site, and another origin."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_page_of_another_origin_gets_nowhere(browser: Browser, gateway_url: str, host: str) -> None:
    """It opens no socket, reads nothing, has no task made, by fetch or by a form, and frames nothing."""
    async with client(urlsplit(gateway_url)._replace(scheme="ws", path="/ws").geturl()) as me:
        before = await me.ask("list_tasks", limit=500)
        context = await browser.new_context()
        with another_site() as port:
            page = await context.new_page()
            await page.goto(f"http://{host}:{port}/")
            told = await page.evaluate(TRIES, gateway_url)
            await context.close()
        assert told == {
            "socket": "refused",
            "sandbox": "refused",
            "read": "refused",
            "simple": "refused",
            "asked": "refused",
            "framed": told["framed"],
        }
        assert told["framed"] in {"refused", False}
        after = await me.ask("list_tasks", limit=500)
        assert [task["task_id"] for task in after["tasks"]] == [task["task_id"] for task in before["tasks"]]
        assert "time" in await me.ask("ping")
