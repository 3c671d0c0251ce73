"""What reads what comes from outside, each with inputs to begin with: it gives a frame, or refuses as it should."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import BaseModel

from gateway import frames, server_frames, strict_json, tar
from gateway.bus.redis import envelope
from gateway.errors import GatewayError
from gateway.sessions import reading
from sandbox_bridge import protocol
from tests.support.hostile_frames import FROM_SANDBOX, REQUESTS, TO_SANDBOX, framed

MAX_REFUSAL_BYTES: Final = 64 << 10
"""A refusal is small, however large what it refuses."""


def request(data: bytes) -> BaseModel | None:
    """A client's request, which can be kept and sent on; None where it is refused in the contract's words."""
    try:
        found = frames.parse_request(data)
    except GatewayError as refusal:
        assert refusal.code == "bad_frame"
        told = server_frames.error(frames.usable_id(data), refusal)
        assert len(told) < MAX_REFUSAL_BYTES, len(told)
        assert all(error["msg"] for error in json.loads(told)["details"]["errors"])
        return None
    orjson.dumps(found.model_dump(mode="json"))
    return found


def from_sandbox(data: bytes) -> BaseModel | None:
    """What a sandbox says; None where it is refused."""
    try:
        return protocol.parse_from_sandbox(data.decode(errors="replace"))
    except protocol.ProtocolError:
        return None


def to_sandbox(data: bytes) -> BaseModel | None:
    """What is said to a sandbox; None where it is refused."""
    try:
        return protocol.parse_to_sandbox(data)
    except protocol.ProtocolError:
        return None


def messages(data: bytes) -> None:
    """A client's messages, in pieces of each size; cut anywhere they are the same, and so is what refuses them."""
    assert len({_said(data, size) for size in (1, 13, len(data) or 1)}) == 1


def _said(data: bytes, size: int) -> tuple[object, ...]:
    reader, said = reading.Reader(1 << 20, lambda: 0.0), list[object]()
    try:
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])
            while (message := reader.next()) is not None:
                said.append(message)
    except reading.BrokenError as refusal:
        said.append(refusal.code)
    return tuple(said)


def archive(data: bytes) -> None:
    """The tar of an upload; refused as it should be where it is none."""
    reader = tar.TarReader()
    try:
        for at in range(0, len(data), 700):
            for told in reader.feed(data[at : at + 700]):
                assert not isinstance(told, tar.Member) or isinstance(told.path, str)
        reader.close()
    except tar.TarError:
        return


@dataclass(frozen=True, slots=True)
class Decoder:
    """One of them: where its lines are, and what to begin with."""

    read: Callable[[bytes], object]
    modules: Sequence[Any]
    seeds: Sequence[bytes]

    @property
    def files(self) -> list[str]:
        """Of its modules."""
        return [str(module.__file__) for module in self.modules]


def _json(templates: Sequence[dict[str, Any]]) -> list[bytes]:
    return [json.dumps({"id": "i", **template}).encode() for template in templates]


def _tar() -> bytes:
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name in ("a", "b/" + "long" * 30 + "/c", "ü"):
            member = tarfile.TarInfo(name)
            member.size = 5
            made.addfile(member, io.BytesIO(b"hello"))
    return kept.getvalue()[:4096]


DECODERS: Final = {
    "requests": Decoder(request, (frames, strict_json), _json(REQUESTS)),
    "from sandboxes": Decoder(from_sandbox, (protocol,), _json(FROM_SANDBOX)),
    "to sandboxes": Decoder(to_sandbox, (protocol,), _json(TO_SANDBOX)),
    "messages": Decoder(messages, (reading,), [framed(b"x" * n) * 2 for n in (0, 5, 126, 2000)]),
    "envelopes": Decoder(
        envelope.unseal,
        (envelope,),
        [b'a\n{"kind":"events","task":"t"}\n{"seq":1}', b'a\n{"kind":"changed"}'],
    ),
    "archives": Decoder(archive, (tar,), [_tar()]),
}
