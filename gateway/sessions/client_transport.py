"""A client's socket, ours from its first moment on, so that it can be read and written past the loop.

It is a transport as asyncio has them. uvloop's reads each socket by itself, with a lock taken twice, and nobody may
read past it: it closes its descriptor when it likes. Of this one the descriptor is closed in the turn that tells that
it is lost, which is a later one than that in which it ends.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from gateway.fanout.sending import send
from gateway.sessions.intake import BYTES, END, Hears, Intake
from gateway.sessions.upgrade import HandsOver

HIGH_BYTES: Final = 64 << 10
"""So much unsent makes a protocol pause, unless it says how much; at a quarter of that it goes on."""


class Reads(Hears, Protocol):
    """The protocol of one: see `asyncio.Protocol`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there; called once."""

    def data_received(self, data: bytes) -> None:
        """Anything else came than `text_received` tells."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over; called once."""

    def pause_writing(self) -> None:
        """There is too much that the client has not taken."""

    def resume_writing(self) -> None:
        """It has taken enough of that."""


class ClientTransport(asyncio.Transport):
    """Owns `sock`, a connected stream that doesn't wait; `begin` tells whose it is."""

    __slots__ = (
        "_high",
        "_intake",
        "_is_closing",
        "_is_full",
        "_is_half",
        "_is_over",
        "_is_reading",
        "_loop",
        "_protocol",
        "_sock",
        "_unsent",
        "fd",
        "is_free",
        "ping_received",
        "text_received",
    )

    def __init__(self, sock: socket.socket, intake: Intake) -> None:
        self._sock = sock
        self.fd = sock.fileno()
        self._intake = intake
        self._loop = asyncio.get_running_loop()
        self._protocol: Reads
        self.text_received: Callable[[bytes, int, float], None]
        self.ping_received: Callable[[bytes, float], bytes]
        """See `Owner`: its protocol's, both."""
        self._high = HIGH_BYTES
        self._unsent: bytearray | None = None
        self.is_free = True
        """Whether its descriptor may be written to: nothing stands before that, and it is not closing."""
        self._is_reading = self._is_closing = self._is_over = self._is_full = self._is_half = False

    def __repr__(self) -> str:
        return f"<ClientTransport {self.fd}{', closing' * self._is_closing}>"

    def begin(self, protocol: Reads) -> None:
        """It is `protocol`'s from now on, and read."""
        self.set_protocol(cast("asyncio.Protocol", protocol))
        self._intake.enter(self.fd, self)
        protocol.connection_made(self)
        try:
            self.resume_reading()
        except OSError as error:  # the kernel watches no more of them
            self.failed(error)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See asyncio."""
        self._protocol = mine = cast("Reads", protocol)
        self.text_received, self.ping_received = mine.text_received, mine.ping_received

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See asyncio."""
        return cast("asyncio.BaseProtocol", self._protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio; its socket and that socket's ends are all that it knows."""
        if name == "socket":
            return self._sock
        try:
            if name == "peername":
                return self._sock.getpeername()
            return self._sock.getsockname() if name == "sockname" else default
        except OSError:  # it has gone
            return default

    def detach(self) -> socket.socket:
        """It is over and tells nobody; its socket is whoever's asks for it, with all that has not been told yet."""
        self.close_reading()
        self._is_closing = self._is_over = True
        self.is_free = False
        self._let_go()
        return self._sock

    # --- reading ----------------------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """See asyncio."""
        return self._is_reading

    def pause_reading(self) -> None:
        """See asyncio; what the same turn has read is told all the same."""
        if self._is_reading:
            self._is_reading = False
            self._intake.listen_no_more(self.fd)

    def resume_reading(self) -> None:
        """See asyncio."""
        if not (self._is_reading or self._is_closing):
            self._intake.listen(self.fd)
            self._is_reading = True

    def close_reading(self) -> None:
        """Nothing is read, nor told, any more."""
        self.pause_reading()
        self._intake.leave(self.fd)

    def came(self, kind: int, data: bytes) -> None:
        """See `Owner`."""
        if kind == BYTES:
            self._protocol.data_received(data)
        elif kind == END:
            self.close()
        else:
            self._lose(OSError(-kind, os.strerror(-kind)))

    def failed(self, error: Exception) -> None:
        """See `Owner`."""
        told = {"message": "a client's protocol failed", "exception": error, "transport": self}
        self._loop.call_exception_handler(told)
        self._lose(error)

    # --- writing ----------------------------------------------------------------------------------------------

    def set_write_buffer_limits(self, high: int | None = None, _low: int | None = None) -> None:
        """See asyncio; the lower one is always a quarter."""
        self._high = HIGH_BYTES if high is None else high

    def get_write_buffer_size(self) -> int:
        """See asyncio."""
        return 0 if self._unsent is None else len(self._unsent)

    def write(self, data: Any) -> None:
        """See asyncio."""
        if self._is_closing or self._is_half:
            return
        if self._unsent is not None:
            self._unsent += data
        elif (taken := send(self.fd, data)) < len(data):
            self._unsent, self.is_free = bytearray(memoryview(data)[taken:]), False
            self._loop.add_writer(self.fd, self._write_on)
        if not self._is_full and self.get_write_buffer_size() > self._high:
            self._is_full = True
            self._protocol.pause_writing()

    def _write_on(self) -> None:
        unsent = self._unsent
        if unsent is None:
            return
        try:
            taken = self._sock.send(unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        del unsent[:taken]
        if not unsent:
            self._written()
        if self._is_full and len(unsent) <= self._high // 4 and not self._is_closing:
            self._is_full = False
            self._protocol.resume_writing()

    def _written(self) -> None:
        self._forget_unsent()
        if self._is_closing:
            self._lose(None)
        elif self._is_half:
            self._shut()

    def _forget_unsent(self) -> None:
        if self._unsent is not None:
            self._loop.remove_writer(self.fd)
            self._unsent, self.is_free = None, not (self._is_closing or self._is_half)

    def can_write_eof(self) -> bool:
        """See asyncio."""
        return True

    def write_eof(self) -> None:
        """See asyncio."""
        if not (self._is_half or self._is_closing):
            self._is_half, self.is_free = True, False
            if self._unsent is None:
                self._shut()

    def _shut(self) -> None:
        with suppress(OSError):  # it has gone, as reading tells
            self._sock.shutdown(socket.SHUT_WR)

    # --- its end ----------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._is_closing

    def close(self) -> None:
        """See asyncio: what was written is sent, and nothing more is read."""
        if self._is_closing:
            return
        self.close_reading()
        self._is_closing, self.is_free = True, False
        if self._unsent is None:
            self._lose(None)

    def abort(self) -> None:
        """See asyncio."""
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._is_over:
            self._is_over = True
            self.close()
            self._forget_unsent()
            self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._let_go()
            self._sock.close()

    def _let_go(self) -> None:
        # They have this transport: a circle otherwise.
        del self._protocol, self.text_received, self.ping_received


class Rest(asyncio.Protocol):
    """Keeps what comes until a connection's owner has it."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.data += data


def owned(transport: asyncio.Transport, intake: Intake | None) -> ClientTransport:
    """The connection of `transport` as ours, which waits for `handed_over` if it was the loop's until now.

    Without an intake (in a simulation, where there is no socket) it is as it is. Raises `OSError` where there is no
    descriptor left.
    """
    if intake is None or isinstance(transport, ClientTransport):
        return cast("ClientTransport", transport)
    theirs = transport.get_extra_info("socket")
    ours = socket.socket(theirs.family, theirs.type, theirs.proto, os.dup(theirs.fileno()))
    return ClientTransport(ours, intake)


def handed_over(peer: HandsOver, ours: ClientTransport, to: Reads) -> Callable[[], None]:
    """The connection of `peer` is `to`'s from now on, by the transport that `owned` has made; see `hand_over`."""
    theirs = peer.transport
    if theirs is None or theirs is ours:
        return peer.hand_over(cast("asyncio.Protocol", to))
    rest = Rest()
    went = peer.hand_over(rest)
    theirs.abort()  # of a descriptor that is not the connection's last: no end
    ours.begin(to)
    if rest.data:
        to.data_received(rest.data)
    return went
