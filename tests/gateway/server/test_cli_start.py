"""How the command line starts."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE


async def test_help_is_quick() -> None:
    """--help loads neither the server nor the client."""
    listing = (
        "import sys, gateway.server.cli.app; print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", listing, stdout=PIPE)
    out, _ = await process.communicate()
    assert not {"aiohttp", "websockets", "pydantic", "jwt", "asyncio"} & set(
        json.loads(out.decode().replace("'", '"'))
    )
