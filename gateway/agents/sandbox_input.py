"""What the agent `sandbox` takes: files, and commands that run in their folder.

Where a rule is checked by a function, its JSON Schema stands beside it, as far as one can say it.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
)

from gateway.files import MAX_FILES
from sandbox_bridge.pool import Want
from sandbox_bridge.protocol import Base64File, Collect, Command, Limits, TtySize, path_conflict, path_error

MAX_COMMANDS: Final = 1000
_SEGMENT: Final = r"(?!\.{1,2}(/|$))[^/\x00]{1,255}"
PATHS_SCHEMA: Final[dict[str, Any]] = {
    "maxProperties": MAX_FILES,
    "propertyNames": {"maxLength": 1024, "pattern": f"^{_SEGMENT}(/{_SEGMENT})*$"},
}
"""It counts characters where the rule has bytes, and can't tell of a path below another."""
BASE64_SCHEMA: Final[dict[str, Any]] = {
    "contentEncoding": "base64",
    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
SH_OR_ARGV_SCHEMA: Final[dict[str, Any]] = {
    "not": {
        "anyOf": [
            {"properties": {"sh": {"type": "null"}, "argv": {"type": "null"}}},
            {"properties": {"sh": {"type": "string"}, "argv": {"type": "array"}}, "required": ["sh", "argv"]},
        ]
    }
}
"""Neither none of them nor both; said so that no generator takes it for two types."""


def _paths_are_good(files: dict[str, Any]) -> dict[str, Any]:
    for path in files:
        if (problem := path_error(path)) is not None:
            raise ValueError(f"{path[:200]!r}: {problem}")
    if (clash := path_conflict(list(files))) is not None:
        raise ValueError(f"{clash[:200]!r} lies below another file")
    return files


def _no_nul(line: str) -> str:
    if "\0" in line:
        raise ValueError("contains NUL, which no command can be given")
    return line


def _env_name(name: str) -> str:
    if not name or "=" in name:
        raise ValueError("the name of an environment variable is not empty and has no '='")
    return _no_nul(name)


Word = Annotated[str, AfterValidator(_no_nul), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
EnvName = Annotated[str, AfterValidator(_env_name), Field(json_schema_extra={"pattern": r"^[^=\x00]+$"})]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


# Of a model's bases the last one's configuration wins: a client's unknown keys are errors, a peer's are not.
class InputFile(Base64File, _Strict):
    """A file that is not text."""

    base64: str = Field(json_schema_extra=BASE64_SCHEMA)

    @field_validator("base64")
    @classmethod
    def _is_base64(cls, text: str) -> str:
        base64.b64decode(text, validate=True)
        return text


class InputTty(TtySize, _Strict):
    """A terminal's size."""


class InputCommand(Command, _Strict):
    """A command with its circumstances: exactly one of `sh`, a shell line, and `argv`."""

    model_config = ConfigDict(json_schema_extra=SH_OR_ARGV_SCHEMA)

    sh: Word | None = None
    argv: list[Word] | None = Field(default=None, min_length=1)
    cwd: Word | None = None
    env: dict[EnvName, Word] = Field(default={}, json_schema_extra={"additionalProperties": False})
    tty: InputTty | None = None


class InputLimits(Limits, _Strict):
    """What the task may use at most."""


class InputCollect(Collect, _Strict):
    """Which files to bring back."""


class WantedSandbox(_Strict):
    """What kind of sandbox it has to be."""

    runtime: str | None = None
    labels: dict[str, str] = {}


def _at_most(most: int) -> Callable[[Any], Any]:
    """A check that comes before every other: what is too much is not looked at."""

    def check(value: Any) -> Any:
        if isinstance(value, list | dict) and len(value) > most:
            raise ValueError(f"{len(value)} are too many; at most {most} are taken")
        return value

    return check


def _text_or_object(value: Any) -> str:
    return "text" if isinstance(value, str) else "object"


# With the choice made by kind, an error is told of the one branch that was meant.
Line = Annotated[Word, StringConstraints(max_length=1 << 20)]
File = Annotated[
    Annotated[str, Tag("text")] | Annotated[InputFile, Tag("object")], Discriminator(_text_or_object)
]
AnyCommand = Annotated[
    Annotated[Line, Tag("text")] | Annotated[InputCommand, Tag("object")], Discriminator(_text_or_object)
]


class SandboxInput(_Strict):
    """What the agent takes: files by path, and commands that run one after another in their folder."""

    files: Annotated[
        dict[str, File],
        BeforeValidator(_at_most(MAX_FILES)),
        AfterValidator(_paths_are_good),
        Field(json_schema_extra=PATHS_SCHEMA),
    ] = {}
    commands: Annotated[
        list[AnyCommand],
        BeforeValidator(_at_most(MAX_COMMANDS)),
        Field(json_schema_extra={"maxItems": MAX_COMMANDS}),
    ] = []
    limits: InputLimits | None = None
    collect: InputCollect | None = None
    stdin: bool = False
    sandbox: WantedSandbox | None = None


def checked(value: dict[str, Any]) -> dict[str, Any]:
    """The input with its defaults. Raises pydantic's `ValidationError`."""
    return SandboxInput.model_validate(value).model_dump(mode="json")


def want(value: Mapping[str, Any], subject: str) -> Want | None:
    """Which sandbox an input of `subject` asks for, or needs."""
    asked = value.get("sandbox")
    if asked is None:
        return Want(extended=True) if _needs_extensions(value) else None
    return Want(
        runtime=asked.get("runtime"),
        labels=asked.get("labels", {}),
        extended=_needs_extensions(value),
        # Who asks for a sandbox of a kind may be given one of its own.
        subject=subject,
    )


def _needs_extensions(value: Mapping[str, Any]) -> bool:
    """Whether the core protocol has no words for it. A sandbox that is slow to say hello is to be waited for."""
    structured = any(isinstance(c, dict) and c.keys() != {"sh"} for c in value.get("commands", ()))
    return has_stdin(value) or value.get("collect") is not None or structured


def has_stdin(value: Mapping[str, Any]) -> bool:
    """Whether an input wants a standard input that can be written to."""
    return value.get("stdin") is True
