"""Programs of several of our modules as one text, to be sent into a jail, where none of them has a path."""

from pathlib import Path
from types import ModuleType

_LOADER = """\
import sys
for name, source in {parts!r}:
    scope = sys.modules[name] = type(sys)(name)
    exec(compile(source, name, "exec"), scope.__dict__)
exec(compile({main!r}, "agent", "exec"), {{"__name__": "__main__"}})
"""


def bundle(main: ModuleType, *parts: ModuleType) -> str:
    """A program that runs `main`; it, and each of `parts`, may import those before it by their names here."""
    sources = [(part.__name__, source_of(part)) for part in parts]
    return _LOADER.format(parts=sources, main=source_of(main))


def source_of(module: ModuleType) -> str:
    """A module's text."""
    assert module.__file__ is not None  # noqa: S101 - ours are files
    return Path(module.__file__).read_text("utf-8")
