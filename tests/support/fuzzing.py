"""What schemathesis, which knows our OpenAPI document alone, has to be told of us; it loads this by its name."""

import io
import tarfile
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st

OF_THE_MOMENT: Final = {"unknown_agent", "invalid_cursor"}
"""Refusals of requests that fit the document: what agents there are, and how long a log is, no schema can say."""

EXCUSED: Final = (
    "data: Input should be a valid string",  # the task's agent wants text
    "an integer of more than 64 bits",  # somewhere within any JSON
    "Input should be a valid integer",  # 3.0 is one to JSON Schema; our types are exact
    "lies below another file",
    "idempotency_key: is another than the header's",
    "Invalid JSON: EOF while parsing a value at line 1 column 0",  # it writes a part that is {} as nothing
)
"""Of what no schema can say."""


def _tar(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


_names = st.text("abc", min_size=1, max_size=8)
_files = st.dictionaries(_names, st.binary(max_size=64), max_size=3)
schemathesis.openapi.media_type("application/x-tar", _files.map(_tar))


@schemathesis.hook
def filter_failure(_context: Any, failure: Any, _case: Any, response: Any) -> bool:
    """Whether a failure counts: not where a request was refused for what only the moment can tell."""
    if type(failure).__name__ != "RejectedPositiveData":
        return True
    problem = response.json()
    if problem["status"] == 412:  # which version a workflow has is of the moment, too
        return False
    return problem["code"] not in OF_THE_MOMENT and not any(word in problem["detail"] for word in EXCUSED)
