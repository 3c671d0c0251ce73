"""A note as a row, whichever database it is in."""

from typing import Any, Final

import orjson

from gateway.notes import Note

NAMES: Final = ("note_id", "at", "instance", "about", "subject", "what", "data")


def encoded(note: Note) -> tuple[Any, ...]:
    """The values of its columns, in the order of `NAMES`."""
    data = orjson.dumps(dict(note.data)).decode()
    return (note.note_id, note.at, note.instance, note.about, note.subject, note.what, data)


def decoded(row: tuple[Any, ...]) -> Note:
    """The note of such values."""
    fields = dict(zip(NAMES, row, strict=True))
    return Note(**fields | {"data": orjson.loads(fields["data"])})
