"""Programs of several of our modules in one piece, to be sent into a jail, where none of them has a path."""

import subprocess
from pathlib import Path
from types import ModuleType

import orjson

_COMPILER = """\
import __future__, ast, importlib.util, json, marshal, sys
def dump(name, source):
    tree = ast.parse(source)
    tree.body = [line for line in tree.body if getattr(line, "module", "") != "__future__"]
    return marshal.dumps(compile(tree, name, "exec", __future__.annotations.compiler_flag, True, 2))
parts = [(name, dump(name, source)) for name, source in json.load(sys.stdin)]
loader = f'''
import marshal, sys
for name, code in {parts!r}:
    part = sys.modules[name] = type(sys)("__main__")
    exec(marshal.loads(code), part.__dict__)
'''
sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER + bytes(12) + dump("agent", loader))
"""


def bundle(python: str, *parts: ModuleType) -> bytes:
    """A program for `python` that runs `parts` one after the other; each may import those before it by name.

    It is compiled, since compiling would cost each jail 4 ms of its start, and has its `__future__` in its code, which
    would be read from the disk for 0.6 ms. Raises OSError, `CalledProcessError`.
    """
    compiler = subprocess.run(  # noqa: S603 - no shell, our own words
        [python, "-I", "-S", "-c", _COMPILER],
        input=orjson.dumps([(part.__name__, source_of(part)) for part in parts]),
        stdout=subprocess.PIPE,
        check=True,
    )
    return compiler.stdout


def source_of(module: ModuleType) -> str:
    """A module's text."""
    assert module.__file__ is not None  # noqa: S101 - ours are files
    return Path(module.__file__).read_text("utf-8")
