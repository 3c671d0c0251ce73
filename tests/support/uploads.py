"""Submits with an archive, and downloads, by HTTP."""

import io
import json
from typing import Any

from aiohttp import ClientSession, FormData

from tests.support.gateway import GatewayProcess


async def submit_tar(gateway: GatewayProcess, archive: Any, **task: Any) -> tuple[int, dict[str, Any]]:
    """The status and the body of a submit with an archive: bytes, a file, or slices as they come."""
    form = FormData()
    form.add_field("task", json.dumps({"mode": "blocking", **task}))
    content = io.BytesIO(archive) if isinstance(archive, bytes) else archive
    form.add_field("files", content, filename="files.tar", content_type="application/x-tar")
    async with ClientSession() as http, http.post(f"{gateway.url}/v1/tasks", data=form) as response:
        return response.status, await response.json()
