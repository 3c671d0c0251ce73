"""The work: tasks become events."""
