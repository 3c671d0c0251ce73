"""What a site is to say, read from a text: its title, its lead and its sections.

Headings (`#`, `##`), lists and lines such as `Opening hours: 8 to 17` are taken as they are: such a line is a section
of its own, or below a heading a fact of its section. Of plain sentences the first gives the title, and what follows
a `with` or `mention` names the sections.
"""

import re
from typing import Final

from pydantic import BaseModel

MAX_TITLE: Final = 80
MAX_SECTIONS: Final = 40
"""Beyond them everything belongs to the last one."""
_ORDERS: Final = re.compile(
    r"^(?:please\s+)?(?:create|build|make|design|write|develop|generate)\s+(?:me\s+|us\s+)?", re.IGNORECASE
)
_KIND: Final = re.compile(
    r"^(?:an?\s+|the\s+)?(?:\w+\s+){0,2}?(?:web\s?site|site|web\s?page|page|landing page)\s+(?:for|about|of|on)\s+",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(
    r"\b(?:called|named|titled)\s+[\"'“‘]?([^\"'”’,.;:\n]{1,80}?)"
    r"(?=[\"'”’,.;:\n]|\s+(?:that|which|who|with|for|and)\b|$)",
    re.IGNORECASE,
)
_ASIDE: Final = re.compile(r"^(?:please\s+)?(?:mention|include|add|use|show|keep|put)\b", re.IGNORECASE)
_PARTS: Final = re.compile(
    r"\b(?:with|including|include|mention|mentioning|has|having|sections?)\b:?\s+", re.IGNORECASE
)
_ARTICLE: Final = re.compile(r"^(?:an?|the|some|sections?\s+(?:for|on|about))\s+", re.IGNORECASE)
_LABELLED: Final = re.compile(r"^([A-Za-zÀ-ÿ][^:.!?]{0,59}):\s+(.+)$")
_ITEM: Final = re.compile(r"^(?:[-*•]|\d{1,3}[.)])\s+(.+)$")
_END: Final = re.compile(r"(?<=[.!?])\s+")


class Section(BaseModel):
    """A part of a page."""

    heading: str
    paragraphs: list[str] = []
    items: list[str] = []
    facts: list[tuple[str, str]] = []
    """What lines such as `Monday: 8 to 17` say, where they stand below a heading."""
    headed: bool = False
    """Whether it was begun by a heading, so that such lines belong to it."""


class Requirements(BaseModel):
    """What a site is to say: all of it is text, and nothing of it markup."""

    title: str
    lead: str = ""
    sections: list[Section] = []


def analysed(text: str) -> Requirements:
    """What `text` asks for; every text is a site."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else "A site"
    head, *rest = _END.split(first, maxsplit=1)
    if first.startswith("#"):
        found = Requirements(title=_cut(first.lstrip("# ")) or "A site")
    else:
        # An order is for us; what is said beside it is for the site's readers.
        found = Requirements(title=_title(head), lead=_lead(first, head, *rest))
        for sentence in (head, *filter(_ASIDE.match, rest)):
            for name in _named_parts(sentence[:1000]):
                _begin(found, name)
    for line in lines[1:]:
        _add(found, line)
    return found


def _lead(first: str, head: str, beside: str = "") -> str:
    if not (beside and _ORDERS.match(head)):
        return first
    if not _ASIDE.match(beside):
        return beside
    subject = _KIND.sub("", _ORDERS.sub("", head))
    return subject[:1].upper() + subject[1:]


def _title(sentence: str) -> str:
    named = _NAMED.search(sentence[:1000])
    if named:
        return _cut(named[1].strip())
    plain = _ORDERS.sub("", sentence[:1000])
    subject = _PARTS.split(_KIND.sub("", plain), maxsplit=1)[0].strip(" .,;:!?\"'")
    return _cut(subject[:1].upper() + subject[1:]) or "A site"


def _cut(text: str) -> str:
    if len(text) <= MAX_TITLE:
        return text
    return text[:MAX_TITLE].rsplit(" ", 1)[0] + "…"


def _named_parts(sentence: str) -> list[str]:
    parts = _PARTS.split(sentence, maxsplit=1)
    if len(parts) == 1:
        return []
    names = re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+|\s*;\s*", parts[1].strip(" .!?:"))
    plain = [_ARTICLE.sub("", name).strip(" .!?:\"'") for name in names]
    return [name[:1].upper() + name[1:] for name in plain if 0 < len(name) <= 60]


def _add(found: Requirements, line: str) -> None:
    item, labelled = _ITEM.match(line), _LABELLED.match(line)
    if line.startswith("#"):
        _begin(found, line.lstrip("# ")).headed = True
    elif item:
        _add_item(_last(found), item[1])
    elif labelled and found.sections and found.sections[-1].headed:
        found.sections[-1].facts.append((labelled[1], labelled[2]))
    elif labelled:
        _begin(found, labelled[1]).paragraphs.append(labelled[2])
    elif line.endswith(":") and len(line) <= 60:
        _begin(found, line[:-1]).headed = True
    elif not (found.lead or found.sections):
        found.lead = line
    else:
        _last(found).paragraphs.append(line)


def _add_item(section: Section, item: str) -> None:
    labelled = _LABELLED.match(item)
    if labelled and not section.items:
        section.facts.append((labelled[1], labelled[2]))
    else:
        section.items.append(item)


def _begin(found: Requirements, heading: str) -> Section:
    """The section of that heading; a new one where there is none and room for it."""
    for section in found.sections:
        if section.heading.casefold() == heading.casefold():
            return section
    if len(found.sections) < MAX_SECTIONS:
        found.sections.append(Section(heading=_cut(heading) or "More"))
    return found.sections[-1]


def _last(found: Requirements) -> Section:
    return found.sections[-1] if found.sections else _begin(found, "About")
