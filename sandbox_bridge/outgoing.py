"""What a session has to say to its sandbox: one frame at a time, the most urgent first. Does no I/O."""

from collections import deque
from collections.abc import Iterator

from sandbox_bridge.protocol import (
    CancelTask,
    Credit,
    FileChunk,
    Resize,
    SessionSignal,
    TaskInput,
    TtySize,
    encode,
)
from sandbox_bridge.spec import FormerSession, TaskSpec, start_frames

CREDIT_BATCH_BYTES = 64 << 10
"""Credit is sent in portions: a quarter of what a session begins with, so the sandbox never runs dry."""

MAX_UNSENT_INPUT_BYTES = 256 << 10
"""Input that waits for its turn on the socket before no more is wanted."""
MAX_UNTAKEN_INPUT_BYTES = 1 << 20
"""As much, at a sandbox that tells how far input is taken: what it keeps of a session."""


class Outgoing:
    """A session's wishes, as the frames that tell of them; nothing but the files goes before its task.

    With `former` the session was begun by another, who may have told the sandbox anything.
    """

    def __init__(
        self, session_id: str, spec: TaskSpec, *, stream: bool, former: FormerSession | None = None
    ) -> None:
        self.spec = spec
        self.is_started = former is not None
        """The frame of its task has been given out."""
        self.is_cancel_wanted = False
        self.is_pause_wanted = former is not None and former.is_paused
        self.credit_bytes = 0
        """Granted, and not told yet."""
        self._session_id = session_id
        self._stream = stream
        self._frames: Iterator[tuple[str, bool]] | None = None
        self._piece: str | None = None
        self._is_cancel_told = False
        # What the sandbox was told last; None where that may have been lost with a socket.
        self._pause_told: bool | None = False
        self._was_paused = former is not None
        self._size: TtySize | None = None
        self._is_size_told = True
        self.input_seq = former.inputs if former is not None else 0
        """The number of the last input that was taken: it is sent, or waits to be."""
        self.taken_seq = 0
        """The number of the last input that is with a command, as the sandbox has told."""
        self._inputs: deque[str] = deque()
        self._input_bytes = 0
        # Of those that the sandbox has yet to tell of: number and size.
        self._untaken: deque[tuple[int, int]] = deque()
        self._untaken_bytes = 0
        self._was_full = False

    # --- wishes ---

    def put_piece(self, chunk: FileChunk) -> None:
        """Have a piece of a file sent ahead of the task; the next one once there `has_piece` no more."""
        self._piece = encode(chunk)

    @property
    def has_piece(self) -> bool:
        """Whether a piece waits to be sent."""
        return self._piece is not None

    def add_input(self, data: str, *, eof: bool, is_told_of: bool) -> None:
        """Have `data` written to the standard input of the running command.

        With `is_told_of` the sandbox will tell when that is so.
        """
        self.input_seq += 1
        frame = TaskInput(
            type="task_input", session_id=self._session_id, data=data, eof=eof, seq=self.input_seq
        )
        self._inputs.append(encode(frame))
        self._input_bytes += len(self._inputs[-1])
        if is_told_of:
            self._untaken.append((self.input_seq, len(self._inputs[-1])))
            self._untaken_bytes += len(self._inputs[-1])
        self._was_full = self._was_full or not self.wants_input

    @property
    def wants_input(self) -> bool:
        """Whether there is room for more input."""
        is_sent = self._input_bytes < MAX_UNSENT_INPUT_BYTES
        return is_sent and self._untaken_bytes < MAX_UNTAKEN_INPUT_BYTES

    def take_input(self, input_seq: int) -> None:
        """The sandbox tells that input up to this number is with a command."""
        self.taken_seq = max(self.taken_seq, min(input_seq, self.input_seq))
        while self._untaken and self._untaken[0][0] <= self.taken_seq:
            self._untaken_bytes -= self._untaken.popleft()[1]

    def takes_input_again(self) -> bool:
        """Whether there is room now, and was none; says so once."""
        again = self._was_full and not self._inputs and self.wants_input
        self._was_full = self._was_full and not again
        return again

    def resize(self, cols: int, rows: int) -> None:
        """Have the terminal's size changed."""
        self._size = TtySize(cols=cols, rows=rows)
        self._is_size_told = False

    def begin_anew(self, *, credit_bytes: int, input_seq: int | None, can_pause: bool) -> None:
        """The session goes on over another socket; what was sent over the old one may not have come.

        The sandbox counts its credit anew from the `after_seq` it was told, `credit_bytes` are granted beyond
        that; it has input up to `input_seq`, and what comes after that is to be given again.
        """
        self.credit_bytes = credit_bytes
        self._is_cancel_told = False
        self._is_size_told = False
        if self._was_paused and can_pause:
            self._pause_told = None
        if input_seq is not None and input_seq != self.input_seq - len(self._inputs):
            self._inputs.clear()
            self._input_bytes = 0
            self.input_seq = input_seq
            while self._untaken and self._untaken[-1][0] > input_seq:
                self._untaken_bytes -= self._untaken.pop()[1]
            self._was_full = True

    # --- frames ---

    def next_frame(self, *, extended: bool, now: float) -> str | None:
        """The next frame to send, or None. Raises `TaskFailed` for a task that can't be said.

        `now` is the wall clock's time that a task is stamped with.
        """
        if self.is_cancel_wanted:
            return self._cancel_frame()
        if not self.is_started:
            return self._start_frame(extended=extended, now=now)
        if not extended:
            return None
        return self._pause_frame() or self._credit_frame() or self._size_frame() or self._input_frame()

    def _cancel_frame(self) -> str | None:
        if self._is_cancel_told:
            return None
        self._is_cancel_told = True
        return encode(CancelTask(type="cancel_task", session_id=self._session_id))

    def _start_frame(self, *, extended: bool, now: float) -> str | None:
        if self._piece is not None or self.spec.ahead is not None:
            piece, self._piece = self._piece, None
            return piece
        if self._frames is None:
            self._frames = start_frames(
                self.spec, self._session_id, stream=self._stream, extended=extended, now=now
            )
        frame, self.is_started = next(self._frames)
        if self.is_started:
            self._frames = None
        return frame

    def _pause_frame(self) -> str | None:
        if self._pause_told is self.is_pause_wanted:
            return None
        self._pause_told = self.is_pause_wanted
        self._was_paused = True
        return encode(
            SessionSignal(
                type="pause_task" if self.is_pause_wanted else "resume_task", session_id=self._session_id
            )
        )

    def _credit_frame(self) -> str | None:
        if self.credit_bytes < CREDIT_BATCH_BYTES:
            return None
        credit, self.credit_bytes = self.credit_bytes, 0
        return encode(Credit(type="credit", session_id=self._session_id, bytes=credit))

    def _size_frame(self) -> str | None:
        if self._is_size_told or self._size is None:
            return None
        self._is_size_told = True
        size = self._size
        return encode(Resize(type="resize", session_id=self._session_id, cols=size.cols, rows=size.rows))

    def _input_frame(self) -> str | None:
        if not self._inputs:
            return None
        frame = self._inputs.popleft()
        self._input_bytes -= len(frame)
        return frame
