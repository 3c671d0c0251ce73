"""How many files the service and its jails may have open (RLIMIT_NOFILE)."""

import resource

_OWN = 65_536
"""Enough for any number of sessions; more would only make each closing of all slower."""
_IN_FLIGHT = 512
"""What one message can carry (253), twice: by so much a sender may go beyond his limit."""
_LEAST = 64


def open_files_of_jails(asked: int) -> int:
    """Raise our own limit as far as we may; returns the one for each process of a jail, at most `asked`.

    The kernel counts the descriptors that are on their way through sockets for a user's processes together, and
    refuses more to whoever may not have as many open. Where jails run as ourselves, one that may have as many
    as we could fill that count, and no session would be given its input or its sites any more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours = _OWN if hard == resource.RLIM_INFINITY else min(hard, _OWN)
    ours = max(soft, ours)
    resource.setrlimit(resource.RLIMIT_NOFILE, (ours, hard))
    return max(_LEAST, min(asked, ours - _IN_FLIGHT))
