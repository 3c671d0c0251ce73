"""What a script does over HTTP."""

import asyncio
import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


async def post(url: str, body: object) -> tuple[int, dict[str, Any]]:
    """Status and body of a POST."""

    def ask() -> tuple[int, dict[str, Any]]:
        data = json.dumps(body).encode()
        request = Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - our own
        try:
            with urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)

    return await asyncio.to_thread(ask)


async def read(url: str) -> str:
    """What is there."""

    def ask() -> str:
        with urlopen(url, timeout=10) as answer:  # noqa: S310
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(ask)
