"""All of PostgreSQL's tables over one connection."""

from gateway.state.postgresql.leases import LeaseRows
from gateway.state.postgresql.notes import NoteRows
from gateway.state.postgresql.retention import Retaining
from gateway.state.postgresql.rows import Rows
from gateway.state.postgresql.sites import Sites
from gateway.state.postgresql.workflows import Workflows


class PostgresqlTables(Rows, Workflows, Retaining, Sites, LeaseRows, NoteRows):
    """The `Tables` of a database."""
