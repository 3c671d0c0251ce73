"""The files of a small site, made from what it is to say, our templates and a theme."""

import re
from html import escape
from importlib.resources import files
from string import Template
from typing import Final, Literal

from gateway.agents.site_text import Requirements, Section

Theme = Literal["plain", "night", "book"]
_HERE: Final = files("gateway.agents") / "site"
MAX_DESCRIPTION: Final = 160


def page(said: Requirements) -> str:
    """`index.html`: the words of `said`, escaped, in our template, which allows no script but its own."""
    marked = list(zip(_marks(said.sections), said.sections, strict=True))
    links = [f'<li><a href="#{mark}">{escape(one.heading)}</a></li>' for mark, one in marked]
    return Template(_resource("page.html")).substitute(
        title=escape(said.title),
        description=escape((said.lead or said.title)[:MAX_DESCRIPTION]),
        lead=f'<p class="lead">{escape(said.lead)}</p>' if said.lead else "",
        navigation="<nav><ul>\n" + "\n".join(links) + "\n</ul></nav>" if len(links) > 1 else "",
        sections="\n".join(_section(mark, one) for mark, one in marked),
    )


def around(theme: Theme) -> dict[str, str]:
    """The files that stand beside the page."""
    own = {name: _resource(name) for name in ("style.css", "script.js", "icon.svg")}
    return own | {"theme.css": _resource(f"themes/{theme}.css")}


def _resource(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _section(mark: str, section: Section) -> str:
    paragraphs = [f"<p>{escape(text)}</p>" for text in section.paragraphs]
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in section.facts
    )
    items = "".join(f"<li>{escape(text)}</li>" for text in section.items)
    lists = [f"<dl>{facts}</dl>" if facts else "", f"<ul>{items}</ul>" if items else ""]
    body = [*paragraphs, *filter(None, lists)] or ['<p class="empty">To follow.</p>']
    heading = f"<h2>{escape(section.heading)}</h2>"
    return "\n".join([f'<section id="{mark}">', heading, *body, "</section>"])


def _marks(sections: list[Section]) -> list[str]:
    """A fragment for each section, of nothing but letters, digits and `-`, none twice."""
    marks: list[str] = []
    for number, section in enumerate(sections, start=1):
        words = re.sub(r"[^a-z0-9]+", "-", section.heading.lower()).strip("-")[:40]
        mark = f"s-{words}" if words else f"s-{number}"
        marks.append(mark if mark not in marks else f"{mark}-{number}")
    return marks
