"""Files that a sandbox gives back: kept in order, credited once durable, and told of truthfully."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agents.collected import Collected
from gateway.agents.sandbox import SANDBOX
from gateway.errors import LeaseLostError
from gateway.files import MAX_FILES, PIECE_BYTES, Batch, to_entry
from tests.support.agents import Context
from tests.support.bridges import connected
from tests.support.fake_sandbox import FakeSandbox
from tests.support.files import Tree, info, noise
from tests.support.json_values import JSON
from tests.support.records import deterministic

TREE = {"a": b"alpha", "folder/empty": b"", "large": noise(PIECE_BYTES + 1)}


class Disk:
    """Keeps batches, each as long as it is told; and counts the credit that is given for them."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.granted = 0
        self.durable_at_grants: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.problem: Exception | None = None

    async def keep(self, batch: Batch, *, place_seq: int, place_file: str | None) -> None:
        """See `RunContext.keep_files`."""
        await self.open.wait()
        if self.problem is not None:
            raise self.problem
        self.batches.append(batch)
        self.place = place_seq, place_file

    def grant(self, nbytes: int) -> None:
        """Note credit, and what was durable then."""
        self.granted += nbytes
        self.durable_at_grants.append(
            sum(len(piece.data) for batch in self.batches for piece in batch.pieces)
        )

    @property
    def tree(self) -> Tree:
        """The files that are whole."""
        names = {file.number: file.path for batch in self.batches for file in batch.files}
        tree: Tree = dict.fromkeys(names.values(), b"")
        for batch in self.batches:
            for piece in batch.pieces:
                if piece.number in names:
                    tree[names[piece.number]] += piece.data
        return tree

    def collected(self) -> Collected:
        """What is under test, over this disk."""
        return Collected(self.keep, self.grant, session_id="s")


def chunk(path: Any, data: bytes, offset: Any = 0, *, last: Any = True) -> dict[str, Any]:
    """A piece as a sandbox says it."""
    text = base64.b64encode(data).decode()
    return {"kind": "file_chunk", "path": path, "offset": offset, "base64": text, "last": last}


def chunks(tree: Tree, size: int = 64 << 10) -> Iterator[dict[str, Any]]:
    """A tree as an honest sandbox sends it."""
    for path, data in tree.items():
        for offset in range(0, len(data) or 1, size):
            yield chunk(path, data[offset : offset + size], offset, last=offset + size >= len(data))


def entries(tree: Tree) -> list[dict[str, Any]]:
    """What an honest result lists."""
    return [to_entry(info(path, data)) for path, data in tree.items()]


async def test_collected_files_are_kept_and_credited_once_durable() -> None:
    """All that was said is on disk, in order, and the base64 text of it is credited then, not before."""
    disk = Disk()
    collected = disk.collected()
    disk.open.clear()
    for said in chunks(TREE):
        await collected.take(said)
    assert disk.granted == 0
    disk.open.set()
    await collected.flush()
    assert disk.tree == TREE
    assert disk.granted == sum(len(said["base64"]) for said in chunks(TREE))
    result = {"status": "completed", "files": entries(TREE)}
    assert collected.told_of(result) == result


async def test_collected_files_hold_their_sandbox_back() -> None:
    """While much is on its way to disk nothing more is taken."""
    disk = Disk()
    collected = disk.collected()
    disk.open.clear()

    async def send() -> None:
        for said in chunks({"large": bytes(8 << 20)}):
            await collected.take(said)

    sending = asyncio.create_task(send())
    done, _ = await asyncio.wait([sending], timeout=0.3)
    assert not done
    disk.open.set()
    await sending
    await collected.flush()
    assert disk.tree == {"large": bytes(8 << 20)}


async def test_collected_files_end_with_the_lease() -> None:
    """That the task has another owner comes out of `take` or `flush`."""
    disk = Disk()
    disk.problem = LeaseLostError("task-1")
    collected = disk.collected()
    await collected.take(chunk("a", b"x"))
    with pytest.raises(LeaseLostError):
        await collected.flush()


BAD = [
    chunk("../a", b"x"),
    chunk("/a", b"x"),
    chunk("good", b"x"),
    chunk("b", b"x", 1),
    chunk("b", b"x", True),
    chunk("b", b"x", "0"),
    chunk(7, b"x"),
    chunk("b", b"x", last=None),
    chunk("b\udcff", b"x"),
    {"kind": "file_chunk"},
    chunk("b", b"x") | {"base64": "?"},
    chunk("b", b"x") | {"base64": "\u00fc"},
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
async def test_collected_files_end_at_the_first_that_can_not_be(bad: dict[str, Any]) -> None:
    """After a piece that is none nothing more is kept; what was whole stays, and credit goes on."""
    disk = Disk()
    collected = disk.collected()
    for said in (chunk("good", b"1"), bad, chunk("after", b"2")):
        await collected.take(said)
        await collected.flush()
    assert disk.tree == {"good": b"1"}
    text = bad.get("base64")
    assert disk.granted == 8 + (len(text) if isinstance(text, str) else 0)
    assert collected.told_of({"truncated": True}) == {"truncated": True, "files": entries({"good": b"1"})}


async def test_collected_files_are_as_many_as_are_taken() -> None:
    """The file that is one too many is not kept."""
    disk = Disk()
    collected = disk.collected()
    for number in range(MAX_FILES + 5):
        await collected.take(chunk(str(number), b""))
    await collected.flush()
    assert len(disk.tree) == MAX_FILES


@given(
    st.lists(st.one_of(JSON, st.fixed_dictionaries({"path": JSON, "size": JSON, "sha256": JSON}))),
    st.booleans(),
)
@deterministic
def test_told_of_is_true_whatever_a_result_says(said: list[Any], truncated: bool) -> None:
    """A result tells of no file that is not here, or is not what it says."""

    async def told() -> None:
        collected = Disk().collected()
        for piece in chunks(TREE):
            await collected.take(piece)
        await collected.flush()
        lies = entries({"a": b"other", "absent": b"x"})
        result = collected.told_of({"files": [*said, *lies, *entries({"large": TREE["large"]})]}) or {}
        assert result["files"] == entries({"large": TREE["large"]})
        for nonsense in (None, 7, "x", {"a": 1}):
            assert collected.told_of({"files": nonsense}) == {"files": []}
        assert collected.told_of(None) is None

    asyncio.run(told())


async def test_told_of_has_no_file_below_another() -> None:
    """Of names that could not be on one disk together only the upper is told of."""
    disk = Disk()
    collected = disk.collected()
    tree = {"a": b"1", "a/b": b"2", "c": b"3"}
    for said in chunks(tree):
        await collected.take(said)
    await collected.flush()
    assert collected.told_of({"files": entries(tree)}) == {"files": entries({"a": b"1", "c": b"3"})}


async def test_run_keeps_the_files_that_its_sandbox_collects() -> None:
    """The agent's result lists what came and was kept."""
    files = {"a.txt": "alpha", "b.bin": "beta", "large.txt": "x" * 600_000}
    async with FakeSandbox() as sandbox, connected(sandbox.dial) as bridge:
        context = Context(bridge=bridge, given={"files": files, "collect": {"globs": ["*.txt"]}})
        await context.run(SANDBOX)
    kept = {file.path: file for batch in context.kept for file in batch.files}
    assert context.error is None
    expected = {path: text.encode() for path, text in files.items() if path.endswith(".txt")}
    assert context.result is not None
    assert context.result["files"] == entries(expected)
    assert [to_entry(file) for file in kept.values()] == entries(expected)
