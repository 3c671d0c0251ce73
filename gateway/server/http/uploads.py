"""`POST /v1/tasks` with files: `multipart/form-data` of a part `task`, JSON, and a part `files`, a tar.

The archive goes into the store as it comes: it is never held whole, and nothing of it is opened by its name.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, cast

import structlog
from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.clock import Clock
from gateway.errors import GatewayError, StoreUnavailableError, wrong_field
from gateway.files import MAX_FILES, FileError, Intake, TooManyBytesError, Upload, path_problem
from gateway.server.connections.peer import MAX_HEADER_BYTES, paid_for
from gateway.state.base import StateStore
from gateway.tar import Member, TarError, TarReader

MAX_UPLOADS: Final = 32
"""At once: each holds about 1 MiB of memory, and takes disk before it is a task."""
MAX_UPLOADS_EACH: Final = 8
"""Of one subject: nobody keeps all others out."""
PART_TIMEOUT_S: Final = 60.0
"""How long nothing may come."""
UPLOAD_TIMEOUT_S: Final = 3600.0
"""How long an upload may take in all; well below the time after which what it left would be swept."""
SLICE_BYTES: Final = 32 << 10
"""Of an archive that are looked at in one turn: at most 64 members, which take 2 ms."""
MAX_LINES: Final = 300
"""Of a form, but for what its parts hold: boundaries and headers, and whatever stands before the first."""
OVERHEAD_BYTES: Final = 64 << 20
"""What an archive may have beside its files' bytes: headers and padding of as many files and folders as are taken."""

log = structlog.get_logger(__name__)

ReadJson = Callable[[AsyncIterator[bytes]], Awaitable[None]]


class Uploads:
    """Takes uploads into the store, and lets go of those that no task was made of."""

    def __init__(self, store: StateStore, clock: Clock, *, max_bytes: int) -> None:
        self._store = store
        self._clock = clock
        self._max_bytes = max_bytes
        self._active: Counter[Hashable] = Counter()
        self._begun: set[str] = set()
        """Of whose files there are some in the store."""

    @asynccontextmanager
    async def received(
        self, request: web.Request, read_task: ReadJson, *, by: Hashable
    ) -> AsyncIterator[Upload | None]:
        """What came in the part `files`, if it came; `read_task` is given the part `task`, which must come.

        Inside the block it can become a task's; else it is gone after it. Raises `GatewayError`.
        """
        if self._active.total() >= MAX_UPLOADS or self._active[by] >= MAX_UPLOADS_EACH:
            raise GatewayError("overloaded", "Too many uploads come in at once.", retry_after_ms=1000)
        self._active[by] += 1
        set_id = self._clock.new_id()
        try:
            yield await self._receive_in_time(request, read_task, set_id)
        finally:
            self._active[by] -= 1
            self._active += Counter()  # forgets who has none
            if set_id in self._begun:
                self._begun.discard(set_id)
                await self._drop(set_id)

    async def _drop(self, set_id: str) -> None:
        try:
            await self._store.drop_files(set_id)
        except StoreUnavailableError as error:
            log.warning("an upload is left to be swept", set_id=set_id, error=str(error))

    async def _receive_in_time(self, request: web.Request, read_task: ReadJson, set_id: str) -> Upload | None:
        try:
            async with asyncio.timeout(UPLOAD_TIMEOUT_S):
                return await self._receive(request, read_task, set_id)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="The upload took too long.") from None

    async def _receive(self, request: web.Request, read_task: ReadJson, set_id: str) -> Upload | None:
        seen: set[str | None] = set()
        upload = None
        async for part in _parts(request):
            if part.name in seen or part.name not in {"task", "files"}:
                raise wrong_field([part.name or ""], "there is one part `task`, and one part `files` at most")
            seen.add(part.name)
            if part.name == "task":
                await read_task(_slices(part))
            else:
                upload = await self._store_tar(request, _slices(part), set_id)
        if "task" not in seen:
            raise wrong_field(["task"], "the part is missing")
        return upload

    async def _store_tar(self, request: web.Request, slices: AsyncIterator[bytes], set_id: str) -> Upload:
        """Its address pays by the time that takes: a mebibyte is 4 ms of one file, 70 of empty ones."""
        tar = _Tar(self._max_bytes)
        async for data in slices:
            with paid_for(request):
                tar.feed(data)
            if tar.intake.full:
                await self._add(set_id, tar)
        tar.close()
        if not tar.intake.empty:
            await self._add(set_id, tar)
        files = tar.intake.files.keys()
        return Upload(set_id if files else None, files, tar.folders, tar.hash.hexdigest())

    async def _add(self, set_id: str, tar: "_Tar") -> None:
        self._begun.add(set_id)
        await self._store.add_files(set_id, tar.intake.take())


class _Tar:
    """An archive that goes by: what is in it is checked, hashed and gathered."""

    def __init__(self, max_bytes: int) -> None:
        self.intake = Intake(max_bytes=max_bytes)
        self.folders: set[str] = set()
        self.hash = hashlib.sha256()
        self._reader = TarReader()
        self._left = max_bytes + OVERHEAD_BYTES
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> None:
        """Take a slice. Raises `GatewayError`."""
        self.hash.update(data)
        self._left -= len(data)
        if self._left < 0:
            raise self._too_large()
        try:
            for told in self._reader.feed(data):
                self._take(told)
        except TooManyBytesError:
            raise self._too_large() from None
        except FileError as error:
            raise refused_file(error.path, error.problem) from None
        except TarError as error:
            raise _refused_tar(error) from None

    def close(self) -> None:
        """It is over. Raises `GatewayError` where it is not whole."""
        try:
            self._reader.close()
        except TarError as error:
            raise _refused_tar(error) from None

    def _take(self, told: object) -> None:
        if isinstance(told, bytes):
            self.intake.add(told)
        elif not isinstance(told, Member):
            self.intake.end()
        elif told.is_folder:
            self._take_folder(_name(told.path).rstrip("/"))
        else:
            self.intake.begin(_name(told.path))

    def _take_folder(self, path: str) -> None:
        if path in {"", "."}:
            return  # `tar -C DIR .` begins with the folder itself
        if (problem := path_problem(path)) is not None:
            raise FileError(path, problem)
        if len(self.folders) >= MAX_FILES:
            raise FileError(path, f"is one too many; at most {MAX_FILES} folders are taken")
        self.folders.add(path)

    def _too_large(self) -> GatewayError:
        return GatewayError(
            "too_large", f"The files have more than the {self._max_bytes} bytes that are taken."
        )


def _name(path: str) -> str:
    """A member's name without the `./` that `tar .` puts before each."""
    while path.startswith("./"):
        path = path[2:]
    return path


def refused_file(path: str, problem: str) -> GatewayError:
    """The `bad_frame` for a file of the input."""
    return wrong_field(["input", "files", path], problem)


def _refused_tar(error: TarError) -> GatewayError:
    shown = FileError(error.path, str(error)).path if error.path is not None else None
    return wrong_field(["input", "files", *([shown] if shown is not None else [])], str(error))


class _Lines:
    """A form's bytes, of which so many lines are read as lines: aiohttp skips those before the first part without a
    pause, and there may be any number of them."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content
        self._left = MAX_LINES

    async def readline(self, **how: Any) -> bytes:
        """The next one. Raises ValueError where it is one too many."""
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"more than {MAX_LINES} lines are beside its parts")
        return await self._content.readline(**how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)


async def _parts(request: web.Request) -> AsyncIterator[BodyPartReader]:
    with _form_errors():
        form = MultipartReader(
            request.headers,
            cast("StreamReader", _Lines(request.content)),
            max_field_size=MAX_HEADER_BYTES,
        )
    while True:
        with _form_errors():
            part = await form.next()
        if part is None:
            return
        if not isinstance(part, BodyPartReader):
            raise wrong_field([], "a part is a form of its own")
        yield part


async def _slices(part: BodyPartReader) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(PART_TIMEOUT_S):
            with _form_errors():
                data = await part.read_chunk(SLICE_BYTES)
        if not data:
            return
        yield data


@contextmanager
def _form_errors() -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, HttpProcessingError) as error:
        raise wrong_field([], f"the form is broken: {error}"[:500]) from None
