"""What runs inside the jail: one file of the standard library's Python, sent in as text."""
