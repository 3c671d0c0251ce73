"""The size and the shape of the code: what keeps each part readable in one sitting."""

import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator

from tests.house.exceptions import EXCEPTIONS, check
from tests.house.source import (
    EVERYTHING,
    PRODUCT,
    Function,
    classes,
    functions,
    length,
    modules,
    nesting,
    own_nodes,
    positional,
)

MAX_FUNCTION_LINES = 60
MAX_CLASS_LINES = 250
MAX_MODULE_LINES = 400
MAX_NESTING = 3
MAX_POSITIONAL = 5


def test_function_length_has_a_hard_stop() -> None:
    """No function is longer than 60 lines."""
    found = {
        place: f"{length(node)} lines"
        for place, node in functions(*EVERYTHING)
        if length(node) > MAX_FUNCTION_LINES
    }
    check("function length", found)


def test_function_length_is_small_on_the_whole() -> None:
    """Half of the product's functions have at most 8 lines, nine of ten at most 30."""
    lengths = [length(node) for _, node in functions(*PRODUCT)]
    assert statistics.median(lengths) <= 8
    assert statistics.quantiles(lengths, n=10)[-1] <= 30


def test_module_length_has_a_hard_stop() -> None:
    """No module is longer than 400 lines."""
    lines = {module.place: len(module.text.splitlines()) for module in modules(*EVERYTHING)}
    found = {place: f"{count} lines" for place, count in lines.items() if count > MAX_MODULE_LINES}
    check("module length", found)


def test_class_length_has_a_hard_stop() -> None:
    """No class is longer than 250 lines."""
    lines = {place: (node.end_lineno or 0) - node.lineno + 1 for place, node in classes(*EVERYTHING)}
    found = {place: f"{count} lines" for place, count in lines.items() if count > MAX_CLASS_LINES}
    check("class length", found)


def test_nesting_is_shallow() -> None:
    """No function stands more than 3 blocks deep."""
    found = {
        place: f"{nesting(node)} blocks deep"
        for place, node in functions(*EVERYTHING)
        if nesting(node) > MAX_NESTING
    }
    check("nesting", found)


def test_positional_arguments_are_few() -> None:
    """No function takes more than 5 arguments by position."""
    found = {
        place: f"{positional(node)} positional arguments"
        for place, node in functions(*EVERYTHING)
        if positional(node) > MAX_POSITIONAL
    }
    check("positional arguments", found)


def test_imports_stand_at_the_top() -> None:
    """No function imports."""
    found = {
        place: "imports inside the function"
        for place, node in functions(*EVERYTHING)
        if any(isinstance(inner, ast.Import | ast.ImportFrom) for inner in own_nodes(node))
    }
    check("import in function", found)


def test_packages_hold_no_code() -> None:
    """An `__init__.py` holds a docstring and nothing else."""
    found = {
        module.place: "holds more than a docstring"
        for module in modules(*EVERYTHING)
        if module.path.name == "__init__.py"
        and not (len(module.tree.body) == 1 and ast.get_docstring(module.tree))
    }
    check("package with code", found)


def test_asyncio_tasks_have_owners() -> None:
    """A task is started in a TaskGroup, or is kept by who started it."""
    found = {
        place: "starts a task that nobody owns"
        for place, node in functions(*EVERYTHING)
        if any(_is_orphan(statement, node) for statement in own_nodes(node))
    }
    check("task without owner", found)


def test_exceptions_are_not_swallowed() -> None:
    """Nothing catches every exception and says nothing about it."""
    found = {
        f"{module.place}:{node.lineno}": "swallows every exception"
        for module in modules(*EVERYTHING)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler | ast.Call) and _swallows(node)
    }
    check("swallowed exception", found)


def test_comments_leave_nothing_to_do() -> None:
    """No comment puts work off."""
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = {
        f"{module.place}:{line}": comment
        for module in modules(*EVERYTHING)
        for line, comment in _comments(module.text)
        if words.search(comment)
    }
    check("to do", found)


def test_tests_do_not_sleep() -> None:
    """A test waits for a condition with a deadline, never for time to pass."""
    found = {
        place: "sleeps"
        for place, node in functions("tests")
        if any(_calls(inner, "sleep") for inner in own_nodes(node))
    }
    check("sleep in tests", found)


def test_tests_state_their_rule() -> None:
    """Each test has a docstring that says in a sentence what holds."""
    found = {
        place: "has no docstring"
        for place, node in functions("tests")
        if node.name.startswith("test_") and not ast.get_docstring(node)
    }
    check("test docstring", found)


def test_exceptions_give_reasons() -> None:
    """Each exception to a rule says why it is one."""
    assert all(len(reason.split()) >= 4 for reason in EXCEPTIONS.values())


def _calls(node: ast.AST, *names: str) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = (
        called.attr
        if isinstance(called, ast.Attribute)
        else called.id
        if isinstance(called, ast.Name)
        else ""
    )
    return name in names


def _is_orphan(statement: ast.AST, function: Function) -> bool:
    """Whether a statement starts a task outside a group, and lets go of it."""
    if not isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign):
        return False
    call = statement.value
    if not isinstance(call, ast.Call) or not _calls(call, "create_task", "ensure_future"):
        return False
    if isinstance(call.func, ast.Attribute) and not re.search(r"asyncio|loop", ast.unparse(call.func.value)):
        return False  # a TaskGroup's
    if isinstance(statement, ast.Expr):
        return True
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    used = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    return bool(names - used)


def _swallows(node: ast.ExceptHandler | ast.Call) -> bool:
    if isinstance(node, ast.ExceptHandler):
        silent = all(
            isinstance(inner, ast.Pass | ast.Continue)
            or (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant))
            for inner in node.body
        )
        return silent and (node.type is None or _is_catch_all(node.type))
    return _calls(node, "suppress") and any(_is_catch_all(kind) for kind in node.args)


def _is_catch_all(node: ast.expr) -> bool:
    kinds = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException") for kind in kinds)


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
