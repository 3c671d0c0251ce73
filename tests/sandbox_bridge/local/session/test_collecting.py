"""The files that come out of a jail, and those that do not."""

import hashlib
import re

import pytest

from sandbox_bridge.local.agent.collect import matcher
from sandbox_bridge.local.errors import JailLostError
from sandbox_bridge.local.jail.jail import Jail
from sandbox_bridge.local.jail.profile import PYTHON, Profile
from sandbox_bridge.local.session.collecting import Collection
from tests.sandbox_bridge.local.jails import hostile, open_jail, run, shell

MANY = 1 << 20


async def collected(jail: Jail, *globs: str, max_bytes: int = MANY) -> tuple[dict[str, bytes], Collection]:
    """What comes out, and its books."""
    collection = Collection(jail, list(globs), max_bytes, python=PYTHON)
    files: dict[str, bytes] = {}
    async for piece in collection:
        files[piece.path] = files.get(piece.path, b"") + piece.data
    return files, collection


# --- which files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("*.txt", "a.txt", True),
        ("*.txt", ".txt", True),
        ("*.txt", "a/b.txt", False),
        ("*.txt", "a.txt\n", False),
        ("**/*.txt", "a.txt", True),
        ("**/*.txt", "a/b/c.txt", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("**", "a/b", True),
        ("a**b", "a/b", False),
        ("?.js", "a.js", True),
        ("?.js", "é.js", True),
        ("a?b", "a/b", False),
        ("[ab].c", "b.c", True),
        ("[!ab].c", "b.c", False),
        ("[!ab]", "c", True),
        ("[!ab]", "/", False),
        ("[0-9]", "5", True),
        ("[]]", "]", True),
        ("[[]", "[", True),
        ("[^a]", "^", True),
        ("[^a]", "b", False),
        ("[a", "[a", True),
        ("a.b+c(d", "a.b+c(d", True),
        ("a.b", "axb", False),
        ("a\\b", "a\\b", True),
    ],
)
def test_globs_mean_what_they_say(glob: str, path: str, expected: bool) -> None:
    """`*` stays within a segment, `**` does not, and nothing else of a regular expression gets through."""
    assert (matcher([glob]).fullmatch(path) is not None) is expected


def test_impossible_range_is_an_error() -> None:
    """A glob that can match nothing is told apart from one that just doesn't."""
    with pytest.raises(re.error):
        matcher(["[z-a]"])


async def test_matching_files_come_whole(profile: Profile) -> None:
    """Each file that matches comes with all its bytes, our own size and hash; an empty one comes, too."""
    data = bytes(range(256)) * 1000
    async with open_jail(profile) as jail:
        await jail.write_files(
            [("out/a.bin", [data]), ("out/deep/er/b", [b"b"]), ("src/c", [b"c"]), ("out/e", [])]
        )
        files, collection = await collected(jail, "out/**")
        output = await run(jail, shell("echo still here"))
    assert files == {"out/a.bin": data, "out/deep/er/b": b"b", "out/e": b""}
    assert [(file.path, file.size, file.sha256) for file in collection.files] == [
        (path, len(files[path]), hashlib.sha256(files[path]).hexdigest())
        for path in ("out/a.bin", "out/deep/er/b", "out/e")
    ]
    assert collection.left_out == 0
    assert output.stdout == b"still here\n"


async def test_large_files_are_left_out_and_counted(profile: Profile) -> None:
    """What does not fit any more is left out whole, also a file that only claims to be large."""
    async with open_jail(profile) as jail:
        await run(
            jail,
            shell("truncate -s 1T far; head -c 600 /dev/zero | tee a > b; echo c > c"),
        )
        files, collection = await collected(jail, "*", max_bytes=1000)
    assert sorted(files) == ["a", "c"]
    assert collection.left_out == 2


async def test_links_are_not_followed(profile: Profile) -> None:
    """No link is a file, wherever it points, and nothing is found through one."""
    async with open_jail(profile) as jail:
        await run(
            jail,
            shell("mkdir d; echo x > d/x; ln -s d/x l; ln -s /etc e; ln -s .. d/up; mkfifo f; ln -s f g"),
        )
        files, collection = await collected(jail, "**")
    assert files == {"d/x": b"x\n"}
    assert collection.left_out == 0


async def test_names_without_a_place_are_left_out_and_counted(profile: Profile) -> None:
    """A name that is no UTF-8, or too deep, does not come, and is told of; any other comes as it is."""
    line = (
        "touch \"$(printf 'b\\377d')\" \"$(printf 'two\\nlines')\" \"$(printf '\\033[31mred')\" '\\' '\"';"
        "for n in 1 2 3 4 5 6; do d=$(printf %0200d $n); mkdir $d && cd $d; done; touch far"
    )
    async with open_jail(profile) as jail:
        assert (await run(jail, shell(line))).exit_code == 0
        files, collection = await collected(jail, "**")
    assert set(files) == {"two\nlines", "\x1b[31mred", "\\", '"'}
    assert collection.left_out == 2


async def test_nothing_else_runs_after_a_sweep(profile: Profile) -> None:
    """A sweep kills what the commands have left behind, so that the files stand still, and a full jail has room."""
    async with open_jail(profile) as jail:
        await run(jail, shell("for n in 1 2 3; do (while :; do echo $n >> log; done) & done; sleep 0.1"))
        jail.sweep_nowait()
        _, first = await collected(jail, "log", max_bytes=64 << 20)
        _, second = await collected(jail, "log", max_bytes=64 << 20)
        output = await run(jail, shell("set -- /proc/[0-9]*; echo $#"))
    assert first.files == second.files
    assert output.stdout == b"3\n"


async def test_collecting_beside_a_flood(profile: Profile) -> None:
    """What the background prints meanwhile is not mixed in."""
    async with open_jail(profile) as jail:
        await jail.write_files([("a", [b"a" * 500_000])])
        await run(jail, shell("yes & yes >&2 &"))
        files, _ = await collected(jail, "a")
    assert files == {"a": b"a" * 500_000}


# --- a hostile collector ------------------------------------------------------------------------------


def as_collector(profile: Profile, frames: str) -> Profile:
    """A jail whose collector sends `frames`, by `f(kind, data)`, and ends."""
    source = (
        "tell(b'R'); sock = socket.socket(fileno=control); fds = []\n"
        "while not fds: fds = socket.recv_fds(sock, 65536, 2)[1]\n"
        "def f(kind, data=b''): os.write(fds[0], kind + len(data).to_bytes(4, 'big') + data)\n"
        f"{frames}\ntell(b'x', bytes(5))\ntime.sleep(60)\n"
    )
    return hostile(profile, source)


async def test_collecting_cut_short_is_told(profile: Profile) -> None:
    """Where the collector is killed half-way, what had come whole counts, and it is not said to be all."""
    frames = "f(b'f', b'a'), f(b'l', b'1'), f(b'f', b'b'), f(b'd', b'2')"
    async with open_jail(as_collector(profile, frames)) as jail:
        _, collection = await collected(jail, "**")
    assert [file.path for file in collection.files] == ["a"]
    assert collection.left_out is None


@pytest.mark.parametrize(
    "frames",
    [
        "f(b'f', b'../up')",
        "f(b'f', b'/etc/passwd')",
        "f(b'f', b'a/./b')",
        "f(b'f', b'n\\0ul')",
        "f(b'f', b'\\xff')",
        "f(b'f', b'')",
        "f(b'f', b'a' * 256)",
        "f(b'f', b'a'), f(b'l'), f(b'f', b'a')",
        "f(b'f', b'a'), f(b'l'), f(b'f', b'a/b')",
        "f(b'f', b'a/b'), f(b'l'), f(b'f', b'a')",
        "f(b'f', b'a'), f(b'f', b'b')",
        "f(b'd', b'x')",
        "f(b'f', b'a'), f(b'l', b'x' * 2000)",
        "f(b's', b'many')",
        "f(b's', b'1'), f(b's', b'1')",
        "f(b'?', b'')",
        "os.write(fds[0], b'f' + b'\\xff' * 4)",
        "[(f(b'f', b'%d' % n), f(b'l')) for n in range(10001)]",
    ],
)
async def test_nonsense_is_not_believed(profile: Profile, frames: str) -> None:
    """Whatever comes in the collector's place, no name or number that can't be gets past us."""
    with pytest.raises(JailLostError):
        async with open_jail(as_collector(profile, frames)) as jail:
            await collected(jail, "**", max_bytes=1000)
