"""All of SQLite's tables over one connection."""

from gateway.state.sqlite.leases import LeaseRows
from gateway.state.sqlite.notes import NoteRows
from gateway.state.sqlite.retention import Retaining
from gateway.state.sqlite.rows import Rows
from gateway.state.sqlite.sites import Sites
from gateway.state.sqlite.workflows import Workflows


class SqliteTables(Rows, Workflows, Retaining, Sites, LeaseRows, NoteRows):
    """The `Tables` of a file. Nothing here suspends: `run_now` runs it."""
