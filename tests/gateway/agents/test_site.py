"""A small site from a text: what is read from it, and that nothing of it becomes markup."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agents.site_pages import around, page
from gateway.agents.site_text import MAX_SECTIONS, analysed

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "# </title><script>alert(1)</script>",
    "A site with </h2><script>alert(1)</script>, javascript:alert(1) and ' onclick='x",
    "One\n- </li><svg onload=alert(1)>\n</section>: <iframe src=//evil>\n$title ${sections}",
)


class Markup(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.elements.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        """Note it."""
        self.words += data


def check_harmless(text: str) -> None:
    """The page of `text` has our elements and attributes alone."""
    markup = Markup(page(analysed(text)))
    tags = [tag for tag, _ in markup.elements]
    assert set(tags) <= {
        *("html", "head", "meta", "title", "link", "script", "body", "a", "header", "h1", "p", "nav"),
        *("ul", "li", "dl", "div", "dt", "dd", "main", "section", "h2", "footer"),
    }
    assert [attrs for tag, attrs in markup.elements if tag == "script"] == [
        (("src", "script.js"), ("defer", None))
    ]
    for tag, attrs in markup.elements:
        assert not any(name.startswith("on") or name in {"style", "srcdoc"} for name, _ in attrs), tag
        links = [value or "" for name, value in attrs if name == "href"]
        assert all(link.startswith("#") or tag == "link" for link in links)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text: str) -> None:
    """No word of a task is an element, an attribute or an address of the page."""
    check_harmless(text)


@given(st.text(alphabet=st.sampled_from("<>\"'&#:-$!/ \nabcwith,"), max_size=200))
def test_any_text_is_text(text: str) -> None:
    """Whatever it is."""
    check_harmless(text)


def test_words_are_on_the_page_as_they_were() -> None:
    """Escaped once, and not twice."""
    words = Markup(page(analysed('Fish & "chips" <daily>\nPrices: 5 & 6'))).words
    assert 'Fish & "chips" <daily>' in words
    assert "5 & 6" in words


def test_headings_and_lists_are_taken_as_they_are() -> None:
    """A text that has a structure keeps it."""
    text = "# Zoo\nWelcome.\nTram: line 4\n## Animals\n- lion\n* ape\n## Hours\nMay: 8 to 5\n- June: 8 to 7\n- late"
    found = analysed(text)
    assert (found.title, found.lead) == ("Zoo", "Welcome.")
    assert [(one.heading, one.paragraphs, one.items, one.facts) for one in found.sections] == [
        ("Tram", ["line 4"], [], []),
        ("Animals", [], ["lion", "ape"], []),
        ("Hours", [], ["late"], [("May", "8 to 5"), ("June", "8 to 7")]),
    ]
    words = Markup(page(found)).words
    assert all(word in words for word in ("Welcome.", "line 4", "ape", "8 to 7", "late"))


@pytest.mark.parametrize(
    ("text", "title", "headings"),
    [
        (
            "Create a landing page for my bakery with opening hours, a menu and contact.",
            "My bakery",
            ["Opening hours", "Menu", "Contact"],
        ),
        ('Build me a website called "Blue Fish"', "Blue Fish", []),
        ("Make a page for a tool called Quill that cuts. Mention speed and ink.", "Quill", ["Speed", "Ink"]),
        ("Write a site about trains. They move with steam.", "Trains", []),
        ("Portfolio: photos and films", "Portfolio: photos and films", []),
        ("", "A site", []),
        ("X" * 1000, "X" * 80 + "…", []),
    ],
)
def test_plain_sentence_gives_title_and_sections(text: str, title: str, headings: list[str]) -> None:
    """What is to be made, and with what."""
    found = analysed(text)
    assert (found.title, [one.heading for one in found.sections]) == (title, headings)


def test_endless_text_has_few_sections() -> None:
    """No navigation is longer than a screen; nothing of the text is lost."""
    found = analysed("T\n" + "\n".join(f"h{n}: body {n}" for n in range(500)))
    assert len(found.sections) == MAX_SECTIONS
    assert "body 499" in page(found)


@pytest.mark.parametrize("theme", ["plain", "night", "book"])
def test_theme_sets_what_the_layout_uses(theme: str) -> None:
    """Each has all the colours and type that the layout asks for."""
    files = around(theme)  # type: ignore[arg-type]  # the table above
    for name in ("paper", "ink", "accent", "line", "body-font", "head-font"):
        assert f"--{name}:" in files["theme.css"]
        assert f"var(--{name})" in files["style.css"]
