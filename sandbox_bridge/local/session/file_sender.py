"""Sends the files that a task gives back to its bridge, as its credit allows."""

from base64 import b64encode
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from sandbox_bridge.local.session.channel import Channel
from sandbox_bridge.local.session.collecting import CollectedFile, CollectedPiece, Collection


class FileSender:
    """Sends `collection`, piece by piece, as `file_chunk`s, each of which spends credit."""

    def __init__(self, collection: Collection, channel: Channel) -> None:
        self.left_out: int | None = None
        """How many files match and have not been sent; None where that is not known, for it was cut short."""
        self._collection = collection
        self._channel = channel
        self._sent = 0
        self._offset = 0
        # A file's end often comes by itself, and costs no frame of its own then.
        self._held: CollectedPiece | None = None

    @property
    def files(self) -> list[CollectedFile]:
        """Those that have been sent whole."""
        return self._collection.files[: self._sent]

    async def run(self, moved: Callable[[], None]) -> None:
        """Send all there is, waiting for credit; `moved` hears of each piece. Raises `JailLostError`."""
        async with aclosing(aiter(self._collection)) as pieces:
            async for piece in pieces:
                moved()
                await self._take(piece)
        self.left_out = self._collection.left_out

    async def _take(self, piece: CollectedPiece) -> None:
        held, self._held = self._held, None
        if held is not None and piece.is_last and not piece.data:
            piece = replace(held, is_last=True)
        elif held is not None:
            await self._send(held)
        if piece.is_last:
            await self._send(piece)
            self._offset = 0
            self._sent += 1
        else:
            self._held = piece

    async def _send(self, piece: CollectedPiece) -> None:
        data = piece.data
        while data or piece.is_last:
            # Four characters of credit carry three bytes.
            size = await self._channel.credit.room() // 4 * 3 if data else 0
            part, data = data[:size], data[size:]
            is_last = piece.is_last and not data
            await self._send_part(piece.path, part, is_last=is_last)
            if is_last:
                return

    async def _send_part(self, path: str, part: bytes, *, is_last: bool) -> None:
        text = b64encode(part).decode()
        chunk = {"path": path, "offset": self._offset, "base64": text, "last": is_last}
        self._offset += len(part)
        await self._channel.send({"type": "file_chunk"} | chunk, cost=len(text))
