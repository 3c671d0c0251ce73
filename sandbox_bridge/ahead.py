"""Files that come piece by piece and go before their task, so that nobody has to hold them whole."""

import base64
from collections.abc import AsyncIterator

from sandbox_bridge.errors import TaskFailed
from sandbox_bridge.protocol import MAX_CORE_FRAME_BYTES, Base64File, FileChunk, FileContent
from sandbox_bridge.spec import FilePiece, chunks_of


async def chunks_ahead(session_id: str, pieces: AsyncIterator[FilePiece]) -> AsyncIterator[FileChunk]:
    """The frames of `pieces`, for a sandbox with the extensions."""
    path, offset = None, 0
    async for piece in pieces:
        if piece.path != path:
            path, offset = piece.path, 0
        for chunk in chunks_of(session_id, piece, offset=offset):
            yield chunk
        offset += len(piece.data)


async def inline_files(pieces: AsyncIterator[FilePiece]) -> dict[str, FileContent]:
    """The files of `pieces`, for a core peer's one frame. Raises `TaskFailed` `bad_input` if they don't fit."""
    files: dict[str, bytearray] = {}
    size = 0
    async for piece in pieces:
        size += len(piece.data)
        if size > MAX_CORE_FRAME_BYTES:
            raise TaskFailed("bad_input", f"the task is larger than {MAX_CORE_FRAME_BYTES} bytes")
        files.setdefault(piece.path, bytearray()).extend(piece.data)
    return {path: _content(bytes(data)) for path, data in files.items()}


def _content(data: bytes) -> FileContent:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Base64File(base64=base64.b64encode(data).decode())
