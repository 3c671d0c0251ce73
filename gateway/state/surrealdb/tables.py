"""All of SurrealDB's tables."""

from gateway.state.surrealdb.leases import LeaseRows
from gateway.state.surrealdb.notes import NoteRows
from gateway.state.surrealdb.retention import Retaining
from gateway.state.surrealdb.rows import Rows
from gateway.state.surrealdb.sites import Sites
from gateway.state.surrealdb.workflows import Workflows


class SurrealTables(Rows, Workflows, Retaining, Sites, LeaseRows, NoteRows):
    """The `Tables` of a database. What is written is not seen by what the same write reads."""
