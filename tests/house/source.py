"""The code as data: which files there are, and the measures that the budgets speak of."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("gateway", "sandbox_bridge")
EVERYTHING = (*PRODUCT, "tests", "benchmarks")

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.Try,
    ast.TryStar,
    ast.With,
    ast.AsyncWith,
    ast.Match,
)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class Module:
    """One source file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def place(self) -> str:
        """The path below the root, as the exceptions name it."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def name(self) -> str:
        """The dotted name."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules(*packages: str) -> tuple[Module, ...]:
    """Every Python file below the given top folders, parsed."""
    paths = sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))
    texts = [(path, path.read_text("utf-8")) for path in paths]
    return tuple(Module(path, text, ast.parse(text, str(path))) for path, text in texts)


def scopes(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Every function and class below `node`, with its qualified name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}"
            yield name, child
            yield from scopes(child, f"{name}.")
        else:
            yield from scopes(child, prefix)


@cache
def functions(*packages: str) -> tuple[tuple[str, Function], ...]:
    """Every function as `path::qualified.name`."""
    return tuple(
        (f"{module.place}::{name}", node)
        for module in modules(*packages)
        for name, node in scopes(module.tree)
        if not isinstance(node, ast.ClassDef)
    )


def classes(*packages: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class as `path::qualified.name`."""
    for module in modules(*packages):
        for name, node in scopes(module.tree):
            if isinstance(node, ast.ClassDef):
                yield f"{module.place}::{name}", node


@cache
def own_nodes(node: ast.AST) -> tuple[ast.AST, ...]:
    """Everything below `node` that belongs to it and not to a function or class inside."""
    found: list[ast.AST] = []
    ahead = list(ast.iter_child_nodes(node))
    while ahead:
        child = ahead.pop()
        found.append(child)
        if not isinstance(child, SCOPES):
            ahead.extend(ast.iter_child_nodes(child))
    return tuple(found)


def length(node: Function) -> int:
    """Lines of a function, without its decorators and docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def positional(node: Function) -> int:
    """How many arguments can be given by position, `self` and `cls` not counted."""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def nesting(node: ast.AST) -> int:
    """How deep blocks stand in each other; `elif`, `else` and `except` are one with what they belong to."""
    return max((_depth(child, is_elif=False) for child in ast.iter_child_nodes(node)), default=0)


def _depth(node: ast.AST, *, is_elif: bool) -> int:
    if isinstance(node, SCOPES):
        return 0
    own = isinstance(node, BLOCKS) and not is_elif
    elif_branch = node.orelse[0] if isinstance(node, ast.If) and len(node.orelse) == 1 else None
    below = (
        _depth(child, is_elif=child is elif_branch and isinstance(child, ast.If))
        for child in ast.iter_child_nodes(node)
    )
    return own + max(below, default=0)
