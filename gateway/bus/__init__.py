"""Between instances."""
