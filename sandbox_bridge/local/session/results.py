"""What is told of a task at its end, in a frame that always fits. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from sandbox_bridge.local.session.collecting import CollectedFile
from sandbox_bridge.local.session.output import Gap, Kept
from sandbox_bridge.protocol import EndReason, Stream

MAX_RESULT_BYTES = 512 << 10
"""A result's records as JSON: half a frame."""
MAX_LIST_BYTES = 256 << 10
"""Its list of files as JSON."""
MAX_COMMAND_TEXT_CHARS = 64 << 10
_MIN_TEXT_CHARS = 256


class Transcript:
    """The records of a task's commands, each text cut to head and tail where all together grow too large."""

    def __init__(self, max_bytes: int = MAX_RESULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._records: list[dict[str, Any]] = []
        self._sizes: list[int] = []
        self._text_chars = MAX_COMMAND_TEXT_CHARS
        self.truncated = False

    def add(self, record: dict[str, Any]) -> None:
        """Take one more record."""
        if self.truncated:
            return
        shrink(record, self._text_chars)
        self._records.append(record)
        self._sizes.append(_json_size(record))
        while sum(self._sizes) > self._max_bytes and not self.truncated:
            self._shrink_all()

    def _shrink_all(self) -> None:
        if self._text_chars <= _MIN_TEXT_CHARS:
            # Even as little as this is too much: the last ones go.
            self.truncated = True
            while sum(self._sizes) > self._max_bytes:
                self._records.pop()
                self._sizes.pop()
            return
        self._text_chars //= 2
        for record in self._records:
            shrink(record, self._text_chars)
        self._sizes = [_json_size(record) for record in self._records]

    def records(self) -> list[dict[str, Any]]:
        """All that is kept, in order."""
        return self._records


def shrink(record: dict[str, Any], most: int) -> None:
    """Cut the record's texts to `most` characters each, head and tail, and mark it where that took some."""
    for key in ("command", "stdout", "stderr"):
        if len(record[key]) > most:
            record[key] = shorten(record[key], most)
            record["truncated"] = True


def shorten(text: str, most: int) -> str:
    """Head and tail of `text`, `most` characters together; itself where it is short enough."""
    if len(text) <= most:
        return text
    half = (most - 3) // 2
    return f"{text[:half]}\n…\n{text[-half:]}"


def _json_size(record: dict[str, Any]) -> int:
    return len(orjson.dumps(record))


def command_record(
    command: str,
    kept: Mapping[Stream, Kept],
    *,
    exit_code: int | None,
    reason: EndReason,
    duration_s: float,
) -> dict[str, Any]:
    """What the result says of one command."""
    stdout, stdout_cut = kept["stdout"].text()
    stderr, stderr_cut = kept["stderr"].text()
    return {
        "command": command,
        "exit_code": exit_code,
        "reason": reason,
        "duration_ms": round(duration_s * 1000),
        "stdout": stdout,
        "stderr": stderr,
        "truncated": stdout_cut or stderr_cut,
    }


def task_result(
    status: str,
    transcript: Transcript,
    *,
    exit_code: int | None,
    url: str | None,
    files: list[CollectedFile],
    isolation: dict[str, Any],
) -> dict[str, Any]:
    """A task's result as it stands in its last frame; of its files as many as there is room for."""
    listed = list(_listed(files))
    result = {
        "status": status,
        "exit_code": exit_code,
        "url": url,
        "commands": transcript.records(),
        "files": listed,
        "isolation": isolation,
    }
    is_cut = transcript.truncated or len(listed) < len(files)
    return result | {"truncated": True} if is_cut else result


def _listed(files: list[CollectedFile]) -> Iterator[dict[str, Any]]:
    left = MAX_LIST_BYTES
    for file in files:
        entry = {"path": file.path, "size": file.size, "sha256": file.sha256}
        left -= _json_size(entry) + 1
        if left < 0:
            return
        yield entry


def gap_progress(gap: Gap) -> dict[str, Any]:
    """The progress that tells of output left out."""
    return {
        "kind": "output_gap",
        "stream": gap.stream,
        "dropped_bytes": gap.dropped_bytes,
        "reason": gap.reason,
    }


def command_progress(
    index: int, text: str, exit_code: int | None, reason: EndReason | None
) -> dict[str, Any]:
    """The progress that tells of a command's start, or with a `reason` of its end."""
    progress = {"kind": "command", "index": index, "command": text, "exit_code": exit_code}
    return progress if reason is None else progress | {"reason": reason}
