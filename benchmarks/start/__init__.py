"""How long one waits: for help, for a gateway that is ready, for a first line of a first task."""
