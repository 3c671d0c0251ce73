"""The documents are true: what is made from the code is fresh, and what is linked is there."""

import re
from pathlib import Path

import pytest

from gateway.settings import Settings
from sandbox_bridge.settings import SandboxSettings
from tests.support.documents import DOCS, all_documents, attribute_docs


@pytest.mark.parametrize("name", all_documents())
def test_made_document_is_what_the_code_says(name: str) -> None:
    """A setting, error or metric that changed changes its document; `python -m tests.support.documents` does it."""
    assert (DOCS / name).read_text() == all_documents()[name]


@pytest.mark.parametrize("model", [Settings, SandboxSettings])
def test_every_setting_has_its_reason(model: type[Settings] | type[SandboxSettings]) -> None:
    """Each knob says below itself what it is for."""
    assert set(model.model_fields) - set(attribute_docs(model)) == set()


@pytest.mark.parametrize(
    "page", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda p: p.name
)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link to a file of ours names one that exists."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_defect_of_the_guide_has_a_test_or_a_reason() -> None:
    """Each of the 86 stands in one row, with a test, or with why there can be none."""
    seen: list[int] = []
    for row in re.findall(r"^\| (\d.*) \|$", (DOCS / "guide-defects.md").read_text(), re.MULTILINE):
        defect, reason, tests = row.split(" | ")
        numbers = re.match(r"[\d–, ]+", defect)
        for first, last in re.findall(r"(\d+)(?:–(\d+))?", numbers[0] if numbers else ""):
            seen.extend(range(int(first), int(last or first) + 1))
        assert reason
        assert "`test_" in tests or tests == "by construction", defect
    assert sorted(seen) == [*range(1, 87)]


def test_every_test_of_the_threat_model_is_there() -> None:
    """A threat without its test is one that is not held off; each has a defence, too."""
    page = (DOCS / "security.md").read_text()
    rows = [
        row.split(" | ") for row in re.findall(r"^\| (.*) \|$", page.partition("## Threats")[2], re.MULTILINE)
    ]
    for _threat, defence, tests in rows[1:]:
        assert defence
        assert re.search(r"`tests/", tests)
    for named in re.findall(r"`(tests/[\w/.]+)`", page):
        assert (DOCS.parent / named).exists(), named


def test_every_test_that_a_page_names_is_there() -> None:
    """What rules a defect out is run."""
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "guide-defects.md").read_text()))
    code = "\n".join(path.read_text() for path in (DOCS.parent / "tests").rglob("test_*.py"))
    assert named - set(re.findall(r"^(?:async )?def (test_\w+)", code, re.MULTILINE)) == set()
