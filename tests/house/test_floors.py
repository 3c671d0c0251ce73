"""The oldest version of each dependency without the holes that are known: of what we ask for, pin, and have installed.

The advisory services are asked by `make audit`, where they can be reached. The numbers here were looked up in November
2026 in what public projects tell of their own audits: each in more than one, with the version that mends it.
"""

import json
import re
import tomllib
from importlib.metadata import version
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.house.source import ROOT

PYTHON: Final = {
    "aiohttp": (
        "3.14.3",
        "CVE-2026-69244; 3.14.2: CVE-2026-69243, CVE-2026-59881; 3.13.3: CVE-2025-69228",
    ),
    "orjson": ("3.11.6", "CVE-2025-67221; below 3.9.15 CVE-2024-27454"),
    "pyjwt": ("2.15.0", "CVE-2026-101918; 2.14.0: CVE-2026-102268; 2.13.0: CVE-2026-48526"),
    "pydantic": ("2.4.0", "CVE-2024-3772"),
    "redis": ("4.5.5", "CVE-2023-28858 and CVE-2023-28859"),
    "websockets": ("9.1", "CVE-2021-33880"),
    "celery": ("5.2.2", "CVE-2021-23727"),
}
PINNED_ALONE: Final = {
    "cryptography": ("50.0.0", "CVE-2026-69247"),
    "idna": ("3.15", "CVE-2026-45409"),
    "urllib3": ("2.8.0", "CVE-2026-97687, CVE-2026-97688 and CVE-2026-97689"),
    "requests": ("2.33.0", "CVE-2026-25645"),
}
"""What comes with others, or is the tests' own."""
PAGE: Final = {
    "ws": ("8.21.0", "CVE-2026-48779"),
    "undici": ("7.28.0", "CVE-2026-12151"),
    "vite": ("8.0.16", "CVE-2026-53571"),
    "postcss": ("8.5.23", "CVE-2026-69153; 8.5.12: CVE-2026-45623"),
}
"""Of npm; looked at where the page's tools bring it."""


def asked_for() -> dict[str, Version]:
    """The floor that `pyproject.toml` sets for each dependency, of any group."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    wanted = [Requirement(line) for group in groups for line in group]
    return {
        one.name: Version(spec.version) for one in wanted for spec in one.specifier if spec.operator == ">="
    }


def pinned() -> dict[str, Version]:
    """What `requirements.lock` has."""
    text = (ROOT / "requirements.lock").read_text()
    return {name: Version(number) for name, number in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)}


@pytest.mark.parametrize("name", PYTHON)
def test_no_hole_is_asked_for(name: str) -> None:
    """Who installs us with the oldest versions that we allow gets none with a known hole."""
    floor, why = PYTHON[name]
    assert asked_for()[name] >= Version(floor), why


@pytest.mark.parametrize("name", [*PYTHON, *PINNED_ALONE])
def test_no_hole_is_pinned_or_installed(name: str) -> None:
    """Nor has the lock one, or the environment that the tests run in."""
    floor, why = (PYTHON | PINNED_ALONE)[name]
    assert pinned()[name] >= Version(floor), why
    assert Version(version(name)) >= Version(floor), why


def test_no_hole_is_in_the_pages_lock() -> None:
    """Nor do the page and its tools, however deep it lies."""
    packages = json.loads((ROOT / "web/package-lock.json").read_text())["packages"]
    found = {
        path: one["version"]
        for path, one in packages.items()
        if (name := path.rpartition("node_modules/")[2]) in PAGE
        and Version(one["version"]) < Version(PAGE[name][0])
    }
    assert found == {}
