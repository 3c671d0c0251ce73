"""What clients say, of all who have said something in one call of C a turn of the loop (`fanout/sockets.c`).

The loop watches one descriptor, an epoll's, that watches theirs. Where there is no such call (no compiler, no Linux)
the loop watches each of them.
"""

import asyncio
import ctypes
import mmap
import os
import select
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Final, Protocol

from gateway.fanout.sending import LIBRARY, send_pieces
from gateway.sessions.reading import lone_text

BYTES, TEXT, END, PING = range(4)
"""What came: bytes, one short text and nothing else, the end, or such a text that is a ping, written as `PINGS[0]` or,
a number higher, the next; below 0 it is an error's number."""
PINGS: Final = (
    (b'{"type":"ping","id":"', b'"}'),
    (b'{"type": "ping", "id": "', b'"}'),
    (b'{"id":"', b'","type":"ping"}'),
    (b'{"id": "', b'", "type": "ping"}'),
)
"""How most write it: what stands before its id, and behind."""
MOST: Final = 64
"""Clients that are read in one turn; the others have the next."""
PIECE: Final = 16 << 10
"""Bytes that are read of one in a turn."""

Came = tuple[int, int, bytes, int]
"""Where it came, what it is, its bytes, of a ping those of its id, and the mask that they had where it is a text."""
ReadReady = Callable[[int], Iterable[Came]]
"""Reads once from each of those that an epoll has ready. Who has said nothing is not among what it gives."""


class Hears(Protocol):
    """Whom a client speaks to."""

    def text_received(self, text: bytes, mask: int, now: float) -> None:
        """A short frame came that is a whole text, and nothing else, masked by `mask`; `now` is the loop's time."""

    def ping_received(self, ping_id: bytes, now: float) -> bytes:
        """Such a text came that is a `Ping`, if no more than a part of something else: the frame that answers it, which
        is sent in this turn, behind all that came. Or nothing, and it is told as any text."""


class Owner(Protocol):
    """Who owns a descriptor that is read here."""

    @property
    def text_received(self) -> Callable[[bytes, int, float], None]:
        """See `Hears`."""

    @property
    def ping_received(self) -> Callable[[bytes, float], bytes]:
        """See `Hears`."""

    def write(self, data: bytes) -> None:
        """Send it, which his socket has not taken at once."""

    def came(self, kind: int, data: bytes) -> None:
        """Anything else came."""

    def failed(self, error: Exception) -> None:
        """He, or his protocol, has raised it: a bug with one client is not the others' end."""


def text_of(kind: int, data: bytes) -> bytes:
    """The text that came, to the byte."""
    return data if kind == TEXT else data.join(PINGS[kind - PING])


def read_one(fd: int) -> Came | None:
    """What has come at `fd`; None for nothing."""
    try:
        data = os.read(fd, PIECE)
    except BlockingIOError:
        return None
    except OSError as error:
        return fd, -(error.errno or 1), b"", 0
    if (found := lone_text(data)) is not None:
        return fd, TEXT, *found
    return fd, BYTES if data else END, data, 0


def compiled(library: Path) -> ReadReady:
    """It by C. Raises `OSError` where there is no such library, and `AttributeError` where it has no such call."""
    call = ctypes.CDLL(str(library)).read_ready
    call.argtypes = (*[ctypes.c_int] * 3, *[ctypes.c_void_p] * 6, ctypes.c_int)
    around = (ctypes.c_char_p * (2 * len(PINGS)))(*chain(*PINGS))
    fds, kinds, ends, masks = (array(kind, bytes(MOST * 4)) for kind in "iiiI")
    # What is never used is no memory, and no process that is forked off reads along.
    room = mmap.mmap(-1, MOST * PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(room))
    told = [numbers.buffer_info()[0] for numbers in (fds, kinds, ends, masks)]
    given = (MOST, PIECE, *told, address, around, len(PINGS))

    def read_by_c(epoll: int) -> Iterable[Came]:
        count = call(epoll, *given)
        if count < 2:  # it is so where little is said, and that is had without a list
            return ((fds[0], kinds[0], room[: ends[0]], masks[0]),) if count else ()
        places = [0, *ends[:count]]
        data = room[: places[-1]]
        pieces = [data[begin:end] for begin, end in pairwise(places)]
        return zip(fds[:count], kinds[:count], pieces, masks[:count], strict=True)

    return read_by_c


class Intake(ABC):
    """The descriptors of one process' clients, and who owns them."""

    def __init__(self) -> None:
        self._of: dict[int, Owner] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._of)} sockets>"

    def enter(self, fd: int, owner: Owner) -> None:
        """What comes at `fd` is `owner`'s until he leaves; it is not listened to yet."""
        self._of[fd] = owner

    def leave(self, fd: int) -> None:
        """Nothing more is `fd`'s owner's, though it be read already. It is not listened to."""
        self._of.pop(fd, None)

    def _tell(self, found: Iterable[Came]) -> None:
        now, owners = asyncio.get_running_loop().time(), self._of
        fds: list[int] = []
        answers: list[bytes] = []
        for fd, kind, data, mask in found:
            if (owner := owners.get(fd)) is None:  # it has ended meanwhile
                continue
            try:
                if kind >= PING and (answer := owner.ping_received(data, now)):
                    fds.append(fd)
                    answers.append(answer)
                elif kind == TEXT or kind >= PING:
                    owner.text_received(text_of(kind, data), mask, now)
                else:
                    owner.came(kind, data)
            except Exception as error:  # noqa: BLE001 - it is told to the owner
                owner.failed(error)
        if fds:
            self._answer(fds, answers)

    def _answer(self, fds: Sequence[int], answers: Sequence[bytes]) -> None:
        for place, taken in send_pieces(fds, answers):
            if (owner := self._of.get(fds[place])) is not None:
                owner.write(answers[place][taken:])

    @abstractmethod
    def listen(self, fd: int) -> None:
        """Read what comes at `fd`."""

    @abstractmethod
    def listen_no_more(self, fd: int) -> None:
        """Leave it in the kernel from now on; what this turn has read is told."""

    def close(self) -> None:
        """Nothing is read any more."""
        self._of.clear()


class Singly(Intake):
    """The loop watches each."""

    def listen(self, fd: int) -> None:
        """See `Intake`."""
        asyncio.get_running_loop().add_reader(fd, self._read, fd)

    def listen_no_more(self, fd: int) -> None:
        """See `Intake`."""
        asyncio.get_running_loop().remove_reader(fd)

    def _read(self, fd: int) -> None:
        if (found := read_one(fd)) is not None:
            self._tell([found])


class Together(Intake):
    """The loop watches an epoll, and what that has ready is read in one call."""

    def __init__(self, read_ready: ReadReady) -> None:
        super().__init__()
        self._read_ready = read_ready
        self._epoll: select.epoll | None = None
        """There is one from the first client on, for as long as there is a loop that watches it."""

    def enter(self, fd: int, owner: Owner) -> None:
        """See `Intake`."""
        super().enter(fd, owner)
        if self._epoll is None:
            self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._read)

    def listen(self, fd: int) -> None:
        """See `Intake`."""
        if self._epoll is not None:
            self._epoll.register(fd, select.EPOLLIN)

    def listen_no_more(self, fd: int) -> None:
        """See `Intake`."""
        if self._epoll is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """See `Intake`."""
        super().close()
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _read(self) -> None:
        if self._epoll is not None:
            self._tell(self._read_ready(self._epoll.fileno()))


def best() -> Intake:
    """The one that can be had."""
    try:
        return Together(compiled(LIBRARY))
    except (OSError, AttributeError):  # there is no library, or one of another version or system
        return Singly()
