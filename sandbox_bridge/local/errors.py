"""What can go wrong with a jail."""


class JailError(Exception):
    """No jail could be made; the text has the words of whoever refused."""


class JailLostError(Exception):
    """The jail, or the agent in it, died under us."""


class FileError(Exception):
    """The agent could not write a file: `errno` and the system's words."""

    def __init__(self, errno: int, words: str) -> None:
        super().__init__(words)
        self.errno = errno
