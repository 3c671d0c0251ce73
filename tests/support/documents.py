"""The documents that are made from the code; `python -m tests.support.documents` writes them anew."""

import ast
import inspect
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gateway import errors
from gateway.metrics import Metrics
from gateway.server.env_file import TOKEN, URL
from gateway.settings import Settings
from sandbox_bridge.settings import SandboxSettings
from tests.crashes.points import document

DOCS = Path(__file__).parents[2] / "docs"
HEAD = "<!-- Made by `python -m tests.support.documents`; a test holds it to the code. -->\n\n"


def all_documents() -> dict[str, str]:
    """Every made document by its file name."""
    return {
        "settings.md": settings(),
        "errors.md": error_tables(),
        "metrics.md": metrics(),
        "crash-points.md": HEAD + document(),
    }


def settings() -> str:
    """Every setting with its default and its reason."""
    ours = _table(Settings, "GATEWAY_")
    theirs = _table(SandboxSettings, "SANDBOX_")
    return (
        f"{HEAD}# Settings\n\nFlags win over the environment, that over a file `.env` in the working directory."
        f" Lists take commas. `{URL}` and `{TOKEN}`, of the commands that talk to a gateway, come in the same order"
        f" (`--url`, `--token` first); but a `{TOKEN}` of the environment is not sent to an address that `.env`"
        f" alone names, since the folder may be anybody's.\n\n## The gateway\n\n{ours}\n"
        "## The local sandbox (`sandbox-bridge serve`)\n\nThe sandbox"
        f" that `gateway serve` starts takes them from the gateway's environment.\n\n{theirs}"
    )


def _table(model: type[BaseModel], prefix: str) -> str:
    reasons = attribute_docs(model)
    rows = ["| name | default | |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = _default(field.get_default(call_default_factory=True))
        rows.append(f"| `{_shown(name, field, prefix)}` | {default} | {reasons.get(name, '')} |")
    return "\n".join(rows) + "\n"


def shown_names(model: type[BaseModel], prefix: str) -> set[str]:
    """The variables by which settings are known."""
    return {_shown(name, field, prefix) for name, field in model.model_fields.items()}


def _shown(name: str, field: FieldInfo, prefix: str) -> str:
    alias = field.validation_alias
    return str(alias.choices[-1]) if isinstance(alias, AliasChoices) else prefix + name.upper()


def _default(value: Any) -> str:
    if value is None or value in ((), ""):
        return ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()  # where it has a default, that is none
    return f"`{','.join(map(str, value)) if isinstance(value, tuple) else value}`"


def attribute_docs(model: type) -> dict[str, str]:
    """The docstring under each attribute of a class, those of its module that it stands on included."""
    ours = [base for base in reversed(model.__mro__) if base.__module__ == model.__module__]
    return {name: about for base in ours for name, about in _own_docs(base).items()}


def _own_docs(model: type) -> dict[str, str]:
    (definition,) = ast.parse(inspect.getsource(model)).body
    found: dict[str, str] = {}
    if not isinstance(definition, ast.ClassDef):
        return found
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[ast.unparse(before.target)] = " ".join(str(after.value.value).split())
    return found


def error_tables() -> str:
    """The three catalogues."""
    answers = "\n".join(
        f"| `{code}` | {kind.status} | {'yes' if kind.retryable else 'no'} | {kind.meaning} |"
        for code, kind in errors.ERRORS.items()
    )
    closes = "\n".join(
        f"| {int(code)} | {'yes' if kind.reconnect else 'no'} | {kind.meaning} |"
        for code, kind in errors.CLOSES.items()
    )
    tasks = "\n".join(f"| `{code}` | {meaning} |" for code, meaning in errors.TASK_ERRORS.items())
    return (
        f"{HEAD}# Errors\n\n## Answers to a request\n\n"
        f"| code | HTTP | try again | meaning |\n|---|---|---|---|\n{answers}\n\n"
        f"## Closes of the socket\n\n| code | come back | meaning |\n|---|---|---|\n{closes}\n\n"
        f"## Why a task failed\n\n| code | meaning |\n|---|---|\n{tasks}\n"
    )


def metrics() -> str:
    """Every metric with its type and labels."""
    rows = [
        f"| `{metric.name}{'_total' if metric.type == 'counter' else ''}` | {metric.type} | {metric.documentation} |"
        for metric in Metrics().registry.collect()
    ]
    table = "\n".join(["| name | type | |", "|---|---|---|", *rows])
    about = "`GET /metrics`, in Prometheus' text format; under `jwt` it needs the scope `admin`."
    return f"{HEAD}# Metrics\n\n{about}\n\n{table}\n"


def main() -> None:
    """Write them all."""
    for name, text in all_documents().items():
        (DOCS / name).write_text(text)


if __name__ == "__main__":
    main()
