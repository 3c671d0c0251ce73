"""Frames that nobody honest sends, made from a seed: texts that are almost requests, bytes that are almost frames."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.support.raw_websocket import BINARY, CLOSE, PING, PONG, TEXT

REQUESTS: Final[Sequence[dict[str, Any]]] = (
    {"type": "submit_task", "mode": "background", "input": {"commands": ["true"], "files": {"a/b": "x"}}},
    {"type": "submit_task", "agent": "sandbox", "labels": {"k": "v"}, "priority": 1, "timeout_s": 5},
    {"type": "submit_task", "idempotency_key": "k", "workflow_id": "w", "detach": "pause", "max_attempts": 1},
    {
        "type": "submit_task",
        "input": {"commands": [{"argv": ["a"], "env": {"A": "b"}}], "collect": {"globs": ["*"]}},
    },
    {"type": "subscribe", "task_id": "t", "after_seq": 0},
    {"type": "unsubscribe", "task_id": "t"},
    {"type": "cancel_task", "task_id": "t", "reason": "r"},
    {"type": "pause_task", "task_id": "t"},
    {"type": "resume_task", "task_id": "t"},
    {"type": "send_input", "task_id": "t", "data": "x", "eof": True, "key": "k"},
    {"type": "resize", "task_id": "t", "cols": 80, "rows": 24},
    {"type": "get_task", "task_id": "t", "include_input": True},
    {"type": "delete_task", "task_id": "t"},
    {"type": "list_tasks", "status": "running", "label": "k=v", "limit": 5, "cursor": "c"},
    {"type": "get_workflow", "workflow_id": "w"},
    {"type": "list_workflows", "session_id": "s", "status": "active", "limit": 1, "cursor": "c"},
    {"type": "list_checkpoints", "workflow_id": "w", "limit": 1, "cursor": "c"},
    {"type": "recover_workflow", "workflow_id": "w", "target_step": "s", "fork": True, "state": {"a": 1}},
    {"type": "watch", "topic": "tasks"},
    {"type": "unwatch", "topic": "sandboxes"},
    {"type": "authenticate", "token": "e30.e30.e30"},
    {"type": "ping"},
)

FROM_SANDBOX: Final[Sequence[dict[str, Any]]] = (
    {
        "type": "task_progress",
        "session_id": "s",
        "progress": {"kind": "output", "stream": "stdout", "text": "x"},
    },
    {"type": "task_progress", "session_id": "s", "progress": {"kind": "server_ready", "port": 80}, "seq": 1},
    {
        "type": "task_completed",
        "session_id": "s",
        "result": {"status": "completed", "commands": [], "files": []},
    },
    {
        "type": "task_error",
        "session_id": "s",
        "error": "e",
        "error_info": {"code": "busy", "result": {}},
        "seq": 2,
    },
    {"type": "health", "status": "healthy", "active_sessions": 0, "max_sessions": 4},
    {"type": "task_paused", "session_id": "s"},
    {"type": "input_taken", "session_id": "s", "input_seq": 1},
    {
        "type": "file_chunk",
        "session_id": "s",
        "path": "p",
        "offset": 0,
        "base64": "AA==",
        "last": True,
        "seq": 3,
    },
    {
        "type": "hello",
        "protocol": "sandbox.v1",
        "sandbox_id": "i",
        "boot_id": "b",
        "max_sessions": 1,
        "resume": [],
    },
)

TO_SANDBOX: Final[Sequence[dict[str, Any]]] = (
    {
        "type": "execute_task",
        "session_id": "s",
        "files": {"a": {"base64": "AA=="}},
        "commands": ["x"],
        "stdin": True,
    },
    {
        "type": "stream_task",
        "session_id": "s",
        "commands": [{"sh": "x", "tty": {"cols": 1, "rows": 1}}],
        "limits": {},
    },
    {"type": "cancel_task", "session_id": "s"},
    {"type": "health_check"},
    {"type": "hello", "protocol": "sandbox.v1", "sessions": [{"session_id": "s", "action": "continue"}]},
    {"type": "task_input", "session_id": "s", "data": "x", "eof": False, "seq": 1},
    {"type": "resize", "session_id": "s", "cols": 80, "rows": 24},
    {"type": "credit", "session_id": "s", "bytes": 1},
    {"type": "file_chunk", "session_id": "s", "path": "p", "offset": 0, "base64": "AA==", "last": True},
)

NASTY: Final[Sequence[str]] = (
    *(
        "null",
        "true",
        "0",
        "-1",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "1.5",
        "5e-324",
        "9" * 400,
        "-0.0",
        "1e22",
    ),
    *(str(2**31), str(2**53 + 1), str(2**63 - 1), str(2**63), str(2**64), "[]", "{}", '""', "[[]]", "[null]"),
    *(
        '"\\u0000"',
        '"\\ud800"',
        '"\\udfff\\ud800"',
        '"\\u202e\\u2028"',
        '"\\r\\n\\u001b[31m"',
        '"' + "x" * 5000 + '"',
    ),
    *('"../../etc/passwd"', '"*"', '"gateway:*"', '"\' OR 1=1 --"', '"${jndi:x}"', '"%s%n"', '"__proto__"'),
    *(
        '{"a":1,"a":2}',
        '{"":{"":{}}}',
        "[" * 70 + "]" * 70,
        '{"a":' * 200 + "1" + "}" * 200,
        "[" + "0," * 500 + "0]",
    ),
    *(
        '{"' + "k" * 3000 + '":1}',
        '{"__class__":"os.system"}',
        '"\\x"',
        "\x01",
        "tru",
        "'x'",
        "01",
        ".5",
        "+1",
        "1.",
    ),
)
"""JSON, or almost, that goes to where something else is expected."""

MAX_TEXT_BYTES: Final = 100_000
"""Far below a frame's limit: what is above it is a way of its own to end a connection."""
WORDS: Final = (
    "\0",
    "\ud800",
    "\r\n",
    "\u2028",
    "\x1b[0m",
    "é" * 40,
    "*",
    "..",
    "a" * 65,
    "",
    " ",
    "=",
    "ﬀ",
    "😀",
)

KILLERS: Final = (
    "binary",
    "not UTF-8",
    "too big",
    "reserved bits",
    "reserved opcode",
    "unmasked",
    "long control",
    "fragmented control",
    "continuation of nothing",
    "text within text",
    "bad close",
    "long length",
    "huge length",
    "endless fragments",
    "cut off",
)
"""Ways to end a connection."""


class Raw(str):
    """JSON text as it is."""

    __slots__ = ()


def written(value: Any) -> str:
    """`value` as JSON, with what is `Raw` as it is."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes hostile frames of a seed; `ids` are of tasks that there are."""

    rng: random.Random
    ids: Sequence[str] = ()

    # --- texts ----------------------------------------------------------------------------------------

    def text(self, templates: Sequence[dict[str, Any]], **more: Any) -> bytes:
        """Something that began as one of `templates`, with `more`: a field or a few bytes of it are wrong."""
        value = self.filled(self.rng.choice(templates) | more)
        for _ in range(self.rng.choice((0, 1, 1, 1, 2, 3))):
            self._spoil(value)
        data = written(value).encode("utf-8", "surrogatepass")[:MAX_TEXT_BYTES]
        return self._gnawed(data) if self.rng.random() < 0.3 else data

    def well_formed(self, request_id: str) -> bytes:
        """A request whose every field has its type, about what is not there, not allowed, or out of bounds."""
        rng = self.rng
        kind = rng.choice(("get_task", "cancel_task", "subscribe", "unsubscribe", "pause_task", "ping"))
        value: dict[str, Any] = {"type": kind, "id": request_id}
        if kind != "ping":
            value["task_id"] = rng.choice((*self.ids, "x", "*", "\u2028", "\x1b", "'", "é" * 20, "gateway:x"))
        if kind == "subscribe":
            value["after_seq"] = rng.choice((0, 1, 10**6, 2**62))
        return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()

    def filled(self, value: dict[str, Any]) -> dict[str, Any]:
        """A copy, with a task that there is in the place of some; none is deleted, for others may read its log."""
        copy: dict[str, Any] = json.loads(json.dumps(value))
        is_safe = "task_id" in copy and copy["type"] != "delete_task"
        if is_safe and self.ids and self.rng.random() < 0.5:
            copy["task_id"] = self.rng.choice(self.ids)
        return copy

    def _spoil(self, value: dict[str, Any]) -> None:
        """Change one thing of it, somewhere."""
        rng, place = self.rng, value
        while (
            inner := [item for item in place.values() if isinstance(item, dict) and item]
        ) and rng.random() < 0.6:
            place = rng.choice(inner)
        key, what = rng.choice([*place, "x"]), rng.randrange(6)
        if what == 0:
            place.pop(key, None)
        elif what == 1:
            place[rng.choice(WORDS)] = Raw(rng.choice(NASTY))
        elif what == 2:
            place[key] = rng.choice(WORDS)
        elif what == 3:
            place[key] = [place.get(key)] * rng.choice((0, 2, 40))
        else:
            place[key] = Raw(rng.choice(NASTY))

    def _gnawed(self, data: bytes) -> bytes:
        """Some bytes of it turned, doubled, cut out or put in."""
        rng, gnawed = self.rng, bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(gnawed) + 1)
            what = rng.randrange(4)
            if what == 0 and at < len(gnawed):
                gnawed[at] ^= 1 << rng.randrange(7)
            elif what == 1:
                del gnawed[at : at + rng.randrange(1, 20)]
            elif what == 2:
                gnawed[at:at] = gnawed[at : at + rng.randrange(1, 40)]
            else:
                gnawed[at:at] = rng.choice(
                    (b'"', b"{", b"}", b"\\", b"\0", b",", b"\\u", b"[", b"\xef\xbb\xbf")
                )
        return bytes(gnawed)

    # --- frames ---------------------------------------------------------------------------------------

    def message(self, payload: bytes) -> bytes:
        """A text message: in one frame, or in some with pings and pongs between them."""
        rng = self.rng
        if rng.random() < 0.8 or not payload:
            return framed(payload, mask=self._mask())
        cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.randrange(1, 5)))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        sent = b""
        for n, part in enumerate(parts):
            head = (TEXT if n == 0 else 0) | (0x80 if n == len(parts) - 1 else 0)
            sent += framed(part, head, mask=self._mask())
            if n < len(parts) - 1 and rng.random() < 0.5:
                sent += framed(
                    rng.randbytes(rng.randrange(126)), 0x80 | rng.choice((PING, PONG)), mask=self._mask()
                )
        return sent

    def killer(self, kind: str) -> bytes:
        """Bytes that a connection is ended for."""
        rng, mask = self.rng, self._mask()
        end = {
            "binary": framed(rng.randbytes(20), 0x80 | BINARY, mask=mask),
            "not UTF-8": framed(b'{"id":"\xff\xfe"}', mask=mask),
            "too big": framed(b" " * ((1 << 20) + 1)) if kind == "too big" else b"",
            "reserved bits": framed(b"x", 0x80 | rng.randrange(1, 8) << 4 | TEXT, mask=mask),
            "reserved opcode": framed(b"", 0x80 | rng.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), mask=mask),
            "unmasked": b"\x81\x02{}",
            "long control": framed(bytes(126), 0x80 | rng.choice((CLOSE, PING, PONG)), mask=mask),
            "fragmented control": framed(b"x", rng.choice((CLOSE, PING, PONG)), mask=mask),
            "continuation of nothing": framed(b"x", rng.choice((0, 0x80)), mask=mask),
            "text within text": framed(b"{", TEXT, mask=mask) + framed(b"}", 0x80 | TEXT, mask=mask),
            "bad close": framed(
                rng.choice((b"\x03", b"\x03\xed", b"\x00\x00", b"\xff\xff", b"\x03\xe8\xff")), 0x88, mask=mask
            ),
            "long length": b"\x81\xfe\x00\x05" + mask + b"hello",
            "huge length": b"\x81\xff"
            + rng.choice((1 << 63, (1 << 64) - 1, 1 << 40)).to_bytes(8, "big")
            + mask,
            "endless fragments": framed(b"", TEXT) + framed(b"", 0) * 1100
            if kind == "endless fragments"
            else b"",
            "cut off": framed(b'{"type":"ping","id":"q"}', mask=mask)[: rng.randrange(1, 20)],
        }
        return end[kind]

    def _mask(self) -> bytes:
        return self.rng.choice((bytes(4), self.rng.randbytes(4)))


def framed(payload: bytes, head: int = 0x80 | TEXT, *, mask: bytes = bytes(4)) -> bytes:
    """A masked frame whose first byte is `head`."""
    length = len(payload)
    if length < 126:
        size = bytes((0x80 | length,))
    elif length < 1 << 16:
        size = b"\xfe" + length.to_bytes(2, "big")
    else:
        size = b"\xff" + length.to_bytes(8, "big")
    if any(mask):
        key = (mask * (length // 4 + 1))[:length]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
    return bytes((head,)) + size + mask + payload
