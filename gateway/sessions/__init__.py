"""The edge: sockets to frames and back."""
