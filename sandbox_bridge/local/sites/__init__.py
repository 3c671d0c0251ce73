"""Web sites out of jails: their listening ports, the connections to them, and how long they stay."""
