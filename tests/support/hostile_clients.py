"""Clients that send hostile frames to a real gateway, and look that each text among them gets its one answer."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.errors import CLOSES, ERRORS
from tests.support.gateway import Client
from tests.support.hostile_frames import FROM_SANDBOX, KILLERS, REQUESTS, Maker, framed
from tests.support.raw_websocket import WITHIN_S, RawClient, Served, connected, handshake, is_over

ENV: Final = {
    "GATEWAY_REQUESTS_PER_S": "0",
    "GATEWAY_SUBMITS_PER_S": "0",
    "GATEWAY_QUEUE_S": "1",
    "GATEWAY_LOG_LEVEL": "warning",
}
"""Of a gateway that is to be attacked with all that its attackers can send."""
BAD_AT_ONCE: Final = 18
"""Bad frames that a connection may send without being closed for them, and one to spare."""
WELL_FORMED: Final = 12
AT_ONCE: Final = 6
CLOSED_WITH: Final = {1000, 1002, *map(int, CLOSES)}
"""What a client may be closed with; 1002 is RFC 6455's for what breaks it, 1000 answers one who closes."""


@dataclass
class Tally:
    """What came of it."""

    frames: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    closes: Counter[str] = field(default_factory=Counter)


async def attack(
    gateway: Served, ids: Sequence[str], *, seed: int, frames: int, tally: Tally, at_once: int = AT_ONCE
) -> None:
    """Send so many frames, over as many connections as that takes."""
    seeds = iter(range(seed, seed + frames))
    end = tally.frames + frames

    async def attacker() -> None:
        while tally.frames < end:
            maker = Maker(random.Random(next(seeds)), ids)
            if maker.rng.random() < 0.1:
                await _as_sandbox(gateway, maker, tally)
            else:
                await _as_client(gateway, maker, tally)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(attacker())


async def _as_client(gateway: Served, maker: Maker, tally: Tally) -> None:
    rng = maker.rng
    texts = [maker.text(REQUESTS, id=f"h{n}") for n in range(BAD_AT_ONCE)]
    texts += [maker.well_formed(f"w{n}") for n in range(WELL_FORMED)]
    rng.shuffle(texts)
    async with connected(gateway) as (reader, writer):
        me = await _welcomed(gateway, RawClient(reader, writer))
        sendable = [text for text in texts if _is_utf8(text)]
        await me.send(b"".join(map(maker.message, sendable)))
        await _all_answered(me, sendable, tally)
        tally.frames += len(sendable)
        if rng.random() < 0.5:
            kind = rng.choice(KILLERS)
            await _killed(me, kind, maker.killer(kind), tally)


def _is_utf8(text: bytes) -> bool:
    """What is not ends the connection (1007): that is a way of its own."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


async def _welcomed(gateway: Served, me: RawClient, path: str = "/ws") -> RawClient:
    await me.send(handshake(gateway.url, line=f"GET {path} HTTP/1.1"))
    async with asyncio.timeout(WITHIN_S):
        head = await me.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    if path == "/ws":
        await me.answers(1)
    return me


async def _all_answered(me: RawClient, sent: Sequence[bytes], tally: Tally) -> None:
    """Each has one answer, with its id where it had one that can be used, and in the words of the contract."""
    left, ids = len(sent), Counter(_usable_id(text) for text in sent)
    while left:
        opcode, payload = await me.read()
        if opcode != 1:
            continue
        told: dict[str, Any] = json.loads(payload)
        assert told["type"] != "goodbye", (told, sent)
        if told["type"] not in {"result", "error"}:
            continue
        left -= 1
        code = told.get("code", "ok")
        tally.codes[code] += 1
        assert code == "ok" or (code in ERRORS and code != "internal"), told
        assert told["id"] is None or ids[told["id"]] > 0, (told, sent)
        ids[told["id"]] -= 1
        assert b"Traceback" not in payload
        assert b'File \\"' not in payload


def _usable_id(text: bytes) -> str | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and 1 <= len(found) <= 64 else None


async def _killed(me: RawClient, kind: str, data: bytes, tally: Tally) -> None:
    """The connection is over soon, with a close of the contract's, or where we cut it off."""
    tally.frames += 1
    try:
        await me.send(data)
        if kind == "cut off":
            me.writer.write_eof()
            await me.is_cut_off()
            tally.closes[kind] += 1
            return
        code, _ = await me.end()
    except (ConnectionError, AssertionError):
        tally.closes[f"{kind}: cut off"] += 1
        return
    tally.closes[f"{kind}: {code}"] += 1
    assert code in CLOSED_WITH, (kind, code)


async def _as_sandbox(gateway: Served, maker: Maker, tally: Tally) -> None:
    """One that dials in, and then says what it likes; nobody owes it an answer."""
    rng = maker.rng
    texts = [maker.text(FROM_SANDBOX) for _ in range(BAD_AT_ONCE)]
    hello = FROM_SANDBOX[-1] | {"sandbox_id": str(rng.random()), "max_sessions": 0}
    if rng.random() < 0.8:
        texts.insert(0, json.dumps(hello).encode())
    async with connected(gateway) as (reader, writer):
        me = await _welcomed(gateway, RawClient(reader, writer), "/sandbox")
        try:
            await me.send(b"".join(map(maker.message, texts)) + framed(b"\x03\xe8", 0x88))
            async with asyncio.timeout(WITHIN_S):
                await is_over(reader)
        except ConnectionError:
            pass
    tally.frames += len(texts)
    tally.closes["sandbox"] += 1


async def is_well(honest: Client) -> bool:
    """Whether one who came before the attack is still served."""
    return "time" in await honest.ask("ping")
