"""Sends large files ahead of their task, piece by piece, so that nobody has to hold them whole."""

import base64
import dataclasses
from collections.abc import AsyncIterator

from sandbox_bridge.call import Call
from sandbox_bridge.errors import TaskFailed
from sandbox_bridge.protocol import MAX_CORE_FRAME_BYTES, Base64File, FileChunk, FileContent
from sandbox_bridge.spec import FilePiece, chunks_of


async def send_ahead(call: Call) -> None:
    """Send the files that go before the task of `call`, if there are any; then it may go. Raises what they raise."""
    ahead = call.out.spec.ahead
    if ahead is None or call.ended.is_set():
        return
    try:
        inline = await _send_pieces(call, ahead())
    except TaskFailed as error:
        call.fail(error)
        return
    except BaseException:
        # There is no second try: what the sandbox has of the files is not all.
        call.cancel()
        raise
    spec = call.out.spec
    call.out.spec = dataclasses.replace(spec, files={**spec.files, **inline}, ahead=None)
    call.post()


async def _send_pieces(call: Call, pieces: AsyncIterator[FilePiece]) -> dict[str, FileContent]:
    """Send `pieces`; those files that have to go with the task are returned."""
    if not call.info().extended:
        return await inline_files(pieces)
    async for chunk in chunks_ahead(call.session_id, pieces):
        if call.ended.is_set():
            break
        await _send_piece(call, chunk)
    return {}


async def _send_piece(call: Call, chunk: FileChunk) -> None:
    call.out.put_piece(chunk)
    call.post()
    # No deadline of its own: a writer that is held up ends with its connection, and the call with it.
    while call.out.has_piece and not call.ended.is_set():
        await call.change()


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
